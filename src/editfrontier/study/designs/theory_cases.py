"""Cases, models, and findings with intervals for the analyses of the theory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import case_generator
from editfrontier.statistics import bootstrap
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    import torch

    from editfrontier.editing.inputs import CaseInputs
    from editfrontier.study.inputs import Inputs

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Chosen:
    """Cases of an analysis, at most one of a source image, and why others that were asked for are not among them."""

    inputs: list[CaseInputs]
    left_out: tuple[str, ...]

    @property
    def clusters(self) -> list[str]:
        """The source image of each case."""
        return [entry.case.cluster for entry in self.inputs]

    def __len__(self) -> int:
        return len(self.inputs)


def model_kinds(inputs: Inputs, known: Iterable[str]) -> list[str]:
    """Return the known kinds of models that the entry names; raise `UserError` if it names none of them."""
    kinds = [kind for kind in known if kind in inputs.models]
    if not kinds:
        raise UserError(
            f"analysis '{inputs.name}': names none of the models {', '.join(known)}. Add one to `models` of its entry."
        )
    return kinds


def choose_cases(inputs: Inputs, count: int, needs: Sequence[str]) -> Chosen:
    """Read the first `count` source images of the analysis' task, one case each.

    Raises:
        UserError: the entry names no task or several, or no case has what is needed.
    """
    from editfrontier.editing.inputs import read_inputs

    if len(inputs.tasks) != 1:
        raise UserError(
            f"analysis '{inputs.name}': {len(inputs.tasks)} tasks, expected one whose captions and images it runs on. "
            "Name one under `tasks`."
        )
    task = inputs.tasks[0]
    cases = inputs.cases(task)
    first = {case.cluster: case for case in reversed(cases)}
    wanted = [first[name] for name in dict.fromkeys(case.cluster for case in cases)][:count]
    usable, problems = [], []
    for case in wanted:
        try:
            usable.append(read_inputs(case, cases, inputs.folder(task), needs, inputs.seed))
        except UserError as error:
            problems.append(str(error))
    if not usable:
        raise UserError(f"analysis '{inputs.name}': no case of task '{task}' can be used. First: {problems[0]}")
    return Chosen(usable, tuple(problems))


def left_out(chosen: Chosen) -> Finding:
    """Return the finding that counts cases that were asked for and could not be used."""
    note = chosen.left_out[0] if chosen.left_out else ""
    return Finding(quantity="left_out", value=float(len(chosen.left_out)), n=len(chosen), note=note)


def load(inputs: Inputs, kind: str, device: torch.device, *, gradient_checkpointing: bool = False) -> Any:
    """Load one of the analysis' models, ready to be differentiated; raise `UserError` if the entry does not name it.

    With `gradient_checkpointing` the blocks of the denoiser and of the decoder are computed again on the way back, so
    that a graph holds their inputs only.

    Whatever `compute.dtype` says, networks keep float32: a power iteration that is to converge to a hundredth, and
    paths whose distance is measured, do not bear the three digits of bfloat16. Only a T5, which is read and not
    differentiated, keeps the bfloat16 that it is published in, or FLUX would leave a card of 80 GB no room.
    """
    import torch

    from editfrontier.diffusion import sampling
    from editfrontier.models.kinds import MODEL_KINDS
    from editfrontier.models.loading import load_pipeline
    from editfrontier.study.theory.maps import freeze

    if kind not in inputs.models:
        raise UserError(f"analysis '{inputs.name}': names no model '{kind}'. Add it to `models` of its entry.")
    precision = {"default": torch.float32, **dict.fromkeys(MODEL_KINDS.get(kind).t5, torch.bfloat16)}
    model = load_pipeline(kind, inputs.models[kind], dtype=precision if device.type == "cuda" else torch.float32)
    sampling.prepare_model(model, device)
    if gradient_checkpointing:
        for network in (sampling.denoiser(model), model.vae):
            network.enable_gradient_checkpointing()
    return freeze(model)


def noise(inputs: Inputs, chosen: Chosen, shape: Sequence[int], device: torch.device, *parts: str) -> torch.Tensor:
    """Draw noise [B, ...]; a case's noise depends on its id, the study's seed and `parts` alone."""
    from editfrontier.diffusion import sampling

    generators = [case_generator(entry.case.case_id, "/".join(parts), inputs.seed) for entry in chosen.inputs]
    return sampling.case_noise((len(chosen), *shape), generators, device)


def mean_findings(
    inputs: Inputs,
    quantity: str,
    values: npt.ArrayLike,
    clusters: Sequence[str],
    xs: Sequence[float] | None = None,
    *,
    rate: bool = False,
    **labels: Any,
) -> list[Finding]:
    """Return means over cases with intervals by bootstrap of source images.

    Args:
        inputs: of the analysis: seed, resamples and level.
        quantity: of the findings.
        values: [N, K], or [N] for one finding; NaN where a case has no value.
        clusters: the source image of each of the N cases.
        xs: K places on the axis, None for none.
        rate: whether the values are 0 and 1; where all are equal, resamples say nothing and Wilson's interval is taken.
        labels: further attributes of the findings.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    numbers = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    places = np.array([numbers[name] for name in clusters])
    table = np.where(np.isfinite(table), table, np.nan)
    estimates = bootstrap.means(table, places, inputs.weights(len(numbers)))
    low, high = bootstrap.intervals(estimates, inputs.settings.level, inputs.settings.interval)
    findings = []
    for column in range(table.shape[1]):
        n = int(np.isfinite(table[:, column]).sum())
        value = float(estimates.point[column]) if n else float("nan")
        bounds = float(low[column]), float(high[column])
        if rate and n and value in (0.0, 1.0):
            units = len({places[i] for i in np.flatnonzero(np.isfinite(table[:, column]))})
            bounds = bootstrap.rate_bounds(value, units, inputs.settings.level)
            bounds = (bounds[0], 1.0) if value == 1.0 else (0.0, bounds[1])  # without the rounding of the formula
        place: dict[str, Any] = {} if xs is None else {"x": float(xs[column])}
        extra = labels if n else {**labels, "note": "no case has a value"}
        findings.append(Finding(quantity=quantity, value=value, low=bounds[0], high=bounds[1], n=n, **place, **extra))
    return findings


def several_means(
    inputs: Inputs, columns: Mapping[str, npt.ArrayLike], clusters: Sequence[str], **options: Any
) -> list[Finding]:
    """Return `mean_findings` of several quantities, by their names."""
    return [row for name, values in columns.items() for row in mean_findings(inputs, name, values, clusters, **options)]


def batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` of `count` rows."""
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


def percent(finding: Finding | None) -> str:
    """Return a rate with its interval for a sentence, "not measured" if there is none."""
    if finding is None:
        return "not measured"
    interval = f" ({_percent(finding.low)} to {_percent(finding.high)})" if np.isfinite(finding.low) else ""
    return f"{_percent(finding.value)}{interval}"


def _percent(share: float) -> str:
    """Return a share with two digits at least, so that a small one does not read as none."""
    return f"{share:.0%}" if share == 0 or share >= 0.095 else f"{100 * share:.2g}%"


def number(finding: Finding | None, digits: int = 3) -> str:
    """Return a value with its interval for a sentence, "not measured" if there is none."""
    if finding is None:
        return "not measured"
    interval = f" ({finding.low:.{digits}g} to {finding.high:.{digits}g})" if np.isfinite(finding.low) else ""
    return f"{finding.value:.{digits}g}{interval}"
