"""Whether an edit shows its caption, as a model for visual question answering says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64
    from torch import Tensor

    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Exact, Values

NO_TARGET = "the case has no target caption"
NO_CHOICE = "source and target caption are equal or missing"


def vqa_choice(target: Values, source: Values, choosing: Bool[Tensor, " batch"]) -> Exact:
    """1 where the target caption is the more probable one, else 0, a tie included; NaN where nothing is to be chosen.

    Args:
        target, source: probabilities of the captions, NaN = not asked for.
        choosing: whether the captions differ and are there.
    """
    known = choosing & target.isfinite() & source.isfinite()
    return (target > source).double().masked_fill(~known, float("nan"))


def _fits(batch: Batch) -> Float64[Tensor, "batch 2"]:
    """Probabilities of "yes" for the target and the source caption; NaN for cases without a target caption."""
    import torch

    fits = torch.full((len(batch.cases), 2), torch.nan, dtype=torch.float64)
    asked = [row for row, case in enumerate(batch.cases) if case.target_caption]
    if asked:
        targets = [batch.cases[row].target_caption for row in asked]
        # Asked for both at once the image is read once; without a source caption the second answer is not used.
        sources = [batch.cases[row].source_caption or batch.cases[row].target_caption for row in asked]
        fits[asked] = batch.networks["vqa"].probability(batch.edited[asked], targets, sources).double()
    return fits


def _vqa_score(batch: Batch) -> Exact:
    return batch.once(_fits)[:, 0]


def _vqa_choice(batch: Batch) -> Exact:
    import torch

    choosing = torch.tensor([case.source_caption not in ("", case.target_caption) for case in batch.cases])
    fits = batch.once(_fits)
    return vqa_choice(fits[:, 0], fits[:, 1], choosing)


METRICS = (
    Metric(
        name="vqa_score",
        label="VQA score",
        direction="higher",
        range=(0.0, 1.0),
        group="controllability",
        description='Probability of "yes" against "no" when a model for visual question answering is asked whether the '
        "edit shows the target caption.",
        source="VQAScore, Lin et al. 2024, arXiv 2404.01291; BLIP instead of CLIP-FlanT5.",
        compute=_vqa_score,
        needs="vqa",
        undefined=NO_TARGET,
    ),
    Metric(
        name="vqa_choice",
        label="VQA choice",
        direction="higher",
        range=(0.0, 1.0),
        group="controllability",
        description="1 when the model finds the target caption more probable than the source caption of the edited "
        "image, else 0.",
        source="`vqa_score` of both captions; a forced choice, so that no threshold has to be calibrated.",
        compute=_vqa_choice,
        needs="vqa",
        undefined=NO_CHOICE,
        binary=True,
    ),
)
