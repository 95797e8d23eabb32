"""Success of an attribute edit, as an attribute classifier judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from torch import Tensor

    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Exact

SUCCESS_THRESHOLD = 0.5


def success(
    probabilities: Float[Tensor, "batch attributes"],
    column: Int64[Tensor, " batch"],
    desired: Bool[Tensor, " batch"],
    threshold: float = SUCCESS_THRESHOLD,
) -> Exact:
    """1.0 where the classifier's verdict on the edited attribute equals the desired value, else 0.0.

    Args:
        probabilities: in [0, 1].
        column: of the edited attribute, -1 = not an attribute of this classifier (then NaN).
        desired: whether the attribute is asked for.
        threshold: of the verdict.
    """
    chosen = probabilities.gather(1, column.clamp(min=0)[:, None])[:, 0]
    return ((chosen >= threshold) == desired).double().masked_fill(column < 0, float("nan"))


def _success(batch: Batch) -> Exact:
    import torch

    names = batch.sources.attribute_names
    columns = [names.index(case.attribute) if case.attribute in names else -1 for case in batch.cases]
    desired = torch.tensor([case.desired for case in batch.cases])
    return success(batch.outputs["attributes"], torch.tensor(columns), desired)


METRICS = (
    Metric(
        name="success",
        label="Success",
        direction="higher",
        range=(0.0, 1.0),
        group="controllability",
        description="1 when the attribute classifier says that the attribute has the desired value (probability 0.5), "
        "else 0.",
        source="Prompt satisfaction by an attribute classifier.",
        compute=_success,
        needs="attributes",
        undefined="the case edits no attribute that the classifier knows",
        binary=True,
        percent=True,
        decimals=1,
        paper="success",
    ),
)
