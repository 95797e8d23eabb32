"""Several attributes edited one after another: are all of them there at the end, and what does the order do?

Every sequence of two or three edits starts with a pair: its first two steps. "Washed out" means that the first edit
succeeded and is gone after the second one. It is compared with the failure of the second edit in the same pairs, those
whose first edit succeeded. All verdicts are the attribute classifier's, whose own errors the true edits show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from editfrontier.base.errors import UserError
from editfrontier.data.cases import read_image
from editfrontier.study.analysis import Analysis
from editfrontier.study.designs.chains import PRESENT, attribute_names, chain_data, mean_of, said_of_counts, step_counts
from editfrontier.study.drawing.composition import draw_composition
from editfrontier.study.findings import Finding

if TYPE_CHECKING:
    from editfrontier.statistics.bootstrap import Array
    from editfrontier.study.designs.chains import ChainData
    from editfrontier.study.findings import Findings
    from editfrontier.study.inputs import Inputs
    from editfrontier.study.results.naming import Row

RATES = {
    "both_retained": "both attributes are there after the second step of a sequence",
    "all_retained": "all three attributes are there after the third step",
    "first_succeeded": "the first edit succeeds",
    "washed_out": "the first edit, which had succeeded, is gone after the second one",
    "second_failed": "the second edit fails, among pairs whose first edit succeeded",
}


@dataclass(frozen=True)
class CompositionParams:
    """What is drawn.

    Attributes:
        paper: rate of two attributes that are both retained, which the figure shows as a line; 0.52 (the paper, section
            5.2), None for no line.
    """

    paper: float | None = 0.52


@dataclass(frozen=True)
class Outcomes:
    """What became of the edits of one variant's chains.

    Attributes:
        present: [C, K, K] whether the attribute of step j (last axis) is there after step k, 1 or 0; NaN for j > k, and
            where there is no image or no such attribute.
        lengths: [C] steps of each chain.
    """

    present: Array
    lengths: Array

    def pair(self) -> Array:
        """Both attributes after the second step, [C]."""
        return self.present[:, 1, 0] * self.present[:, 1, 1]

    def everything(self, length: int) -> Array:
        """All attributes after the last step [C], NaN for chains of another length."""
        last = self.present[:, length - 1, :length].prod(1)
        return np.where(self.lengths == length, last, np.nan)

    def lost(self, step: int) -> Array:
        """1 - the attribute of step 0 or 1 after both steps, of chains whose first step succeeded, [C]."""
        judged = (self.present[:, 0, 0] == 1) & np.isfinite(self.present[:, 1, 1 - step])
        return np.where(judged, 1 - self.present[:, 1, step], np.nan)


def outcomes(data: ChainData, names: Sequence[str], probabilities: Array) -> Outcomes:
    """Say which edits are there after each step.

    Args:
        data: the chains.
        names: the classifier's columns [A].
        probabilities: [C, K, A] of a variant's images, NaN without an image.
    """
    kept = np.full((len(data.chains), data.steps, data.steps), np.nan)
    for number, chain in enumerate(data.chains):
        for j, case in enumerate(chain):
            if case.attribute in names:
                seen = probabilities[number, j:, list(names).index(case.attribute)]
                verdict = np.where(np.isfinite(seen), (seen >= PRESENT) == case.desired, np.nan)
                kept[number, j:, j] = verdict
    return Outcomes(kept, np.array([len(chain) for chain in data.chains], dtype=np.float64))


def run(inputs: Inputs, params: CompositionParams) -> Sequence[Finding]:
    """Return the rates of every variant and of all editors together, and the effects of the order of the edits."""
    data = chain_data(inputs, inputs.only_experiment("on a task that has chains")[0])
    if data.steps < 2:
        raise UserError(
            f"analysis '{inputs.name}': the longest chain of task '{data.scores.task}' has one step, expected two or "
            "more. Give an experiment on sequences (dataset chains, `design: composed`)."
        )
    names = attribute_names(inputs, data.scores.task)
    if not names:
        return [Finding(quantity="both_retained", value=math.nan, note="no evaluator of attributes judges the images")]
    weights = inputs.weights(data.scores.clusters, "chains", data.scores.task)
    rows = list({row.variant: row for row in inputs.rows}.values())
    findings: list[Finding] = []
    by_variant = {}
    for row in rows:
        outcome = outcomes(data, names, data.attributes(inputs, row.variant))
        by_variant[row.variant] = outcome
        findings += _rates(inputs, data, [outcome], row.variant, weights)
        findings += _orders(inputs, data, [outcome], row.variant, weights)
        findings += _order_distance(inputs, data, row, weights)
        findings += step_counts(inputs, data, row.variant)
    editors = [by_variant[row.variant] for row in rows if not row.control]
    if editors:
        pooled = _rates(inputs, data, editors, "", weights) + _orders(inputs, data, editors, "", weights)
        findings = [*pooled, *findings]
    return findings


# Parts of the findings ------------------------------------------------------------------------------------------------


def _mean(
    inputs: Inputs, data: ChainData, parts: Iterable[Array], weights: Array, rate: bool, about: dict[str, Any]
) -> Finding:
    """A finding of values [C] of one or several variants; the clusters are shared."""
    values = list(parts)
    cluster = np.tile(data.cluster, len(values))
    mean = mean_of(np.concatenate(values), cluster, weights, inputs.settings, rate)
    return Finding(**about, **mean.fields(), note="" if mean.n else "there is no such sequence")


def _rates(inputs: Inputs, data: ChainData, parts: Sequence[Outcomes], variant: str, weights: Array) -> list[Finding]:
    def finding(quantity: str, parts: Iterable[Array], level: str = "", rate: bool = True) -> Finding:
        about = {"quantity": quantity, "variant": variant, "metric": "success", "level": level}
        return _mean(inputs, data, parts, weights, rate, about)

    findings = [finding("both_retained", [part.pair() for part in parts])]
    for order in dict.fromkeys(str(design.get("order", "")) for design in data.designs):
        chosen = np.array([design.get("order", "") == order for design in data.designs])
        if order:
            findings.append(finding("both_retained", [np.where(chosen, part.pair(), np.nan) for part in parts], order))
    if data.steps >= 3:
        findings.append(finding("all_retained", [part.everything(3) for part in parts]))
    findings.append(finding("first_succeeded", [part.present[:, 0, 0] for part in parts]))
    for step, quantity in enumerate(("washed_out", "second_failed")):
        findings.append(finding(quantity, [part.lost(step) for part in parts]))
    gaps = [part.lost(0) - part.lost(1) for part in parts]
    findings.append(finding("washed_out_minus_failed", gaps, rate=False))
    return findings


def order_pairs(data: ChainData) -> list[tuple[int, int]]:
    """Return (forward, reversed) numbers of the chains that edit one image with the same attributes in both orders."""
    held: dict[tuple[Any, ...], dict[str, int]] = {}
    for number, (chain, design) in enumerate(zip(data.chains, data.designs, strict=True)):
        order = design.get("order")
        if order in ("forward", "reversed"):
            rest = tuple(sorted((key, str(value)) for key, value in design.items() if key not in ("order", "noise")))
            attributes = tuple(sorted(case.attribute for case in chain))
            held.setdefault((chain[0].cluster, attributes, rest), {})[order] = number
    return [(pair["forward"], pair["reversed"]) for pair in held.values() if len(pair) == 2]


def _orders(inputs: Inputs, data: ChainData, parts: Sequence[Outcomes], variant: str, weights: Array) -> list[Finding]:
    """The same edits in both orders: how often the outcome differs, and whether an attribute is kept better last."""
    pairs = order_pairs(data)
    note = "no sequence was edited in both orders"
    names = ("order_effect", "order_differs", "last_minus_first")
    if not pairs:
        return [Finding(quantity=name, variant=variant, metric="success", value=math.nan, note=note) for name in names]
    values: dict[str, list[float]] = {name: [] for name in names}
    clusters: list[int] = []
    for part in parts:
        for forward, backward in pairs:
            length = int(part.lengths[forward])
            ends = [part.present[number, length - 1, :length] for number in (forward, backward)]
            kept = [float(end.prod()) for end in ends]
            values["order_effect"].append(kept[0] - kept[1])
            values["order_differs"].append(abs(kept[0] - kept[1]))
            # The attribute that comes first forward comes last reversed, and the other way round.
            gaps = [ends[1][-1] - ends[0][0], ends[0][-1] - ends[1][0]]
            values["last_minus_first"].append(float(np.mean(gaps)))
            clusters.append(int(data.cluster[forward]))
    findings = []
    for name in names:
        rate = name == "order_differs"
        mean = mean_of(np.array(values[name]), np.array(clusters), weights, inputs.settings, rate)
        findings.append(Finding(quantity=name, variant=variant, metric="success", **mean.fields()))
    return findings


def _order_distance(inputs: Inputs, data: ChainData, row: Row, weights: Array) -> list[Finding]:
    """How far apart the last images of both orders are."""
    images = inputs.images(data.scores.task, row.variant)
    values, clusters = [], []
    for pair in order_pairs(data):
        ends = [data.chains[number][-1].case_id for number in pair]
        if all(case_id in images for case_id in ends):
            first, second = (read_image(images[case_id]).astype(np.float64) / 255 for case_id in ends)
            values.append(float(np.sqrt(((first - second) ** 2).mean())))
            clusters.append(int(data.cluster[pair[0]]))
    about: dict[str, Any] = {"quantity": "order_distance", "variant": row.variant, "metric": "l2_source"}
    if not values:
        return [Finding(**about, value=math.nan, note="no sequence was edited in both orders")]
    return [Finding(**about, **mean_of(np.array(values), np.array(clusters), weights, inputs.settings).fields())]


# Figure and sentences -------------------------------------------------------------------------------------------------


def say(findings: Findings, inputs: Inputs) -> Sequence[str]:
    """Say how often two and three attributes are kept, and whether edits wash out more often than they fail."""

    def percent(row: Finding) -> str:
        return f"{row.value:.0%} [{row.low:.0%}, {row.high:.0%}]"

    sentences = []
    two, three = (findings.one(name, variant="", level="") for name in ("both_retained", "all_retained"))
    if two:
        text = f"Over all editors, two attributes edited one after the other are both there in {percent(two)} of"
        more = f", three in {percent(three)} of {three.n}." if three else "."
        sentences.append(f"{text} {two.n} sequences{more}")
    names = ("washed_out", "second_failed", "washed_out_minus_failed")
    lost, failed, gap = (findings.one(name, variant="") for name in names)
    if lost and failed and gap:
        word = "more" if gap.low > 0 else "less" if gap.high < 0 else "neither more nor less"
        sentences.append(
            f"A second edit washes a first one out in {percent(lost)} of {lost.n} pairs and fails itself in "
            f"{percent(failed)}: {word} often ({gap.value:+.0%} [{gap.low:+.0%}, {gap.high:+.0%}])."
        )
    last = findings.one("last_minus_first", variant="")
    if last:
        sentences.append(
            "To edit an attribute last instead of first changes how often it is there at the end by "
            f"{last.value:+.0%} [{last.low:+.0%}, {last.high:+.0%}]."
        )
    return sentences + said_of_counts(findings)


ANALYSIS = Analysis(
    name="composition",
    run=run,
    draw=draw_composition,
    say=say,
    quantities={
        **{name: f"share of sequences in which {text}" for name, text in RATES.items()},
        "washed_out_minus_failed": "paired difference of washed_out and second_failed",
        "order_effect": "share of sequences with everything kept, forward less reversed, paired by image",
        "order_differs": "share of pairs of orders of which exactly one keeps everything",
        "last_minus_first": "how much more often an attribute is there at the end when it is edited last than first",
        "order_distance": "root mean squared difference of the last images of both orders, pixel values in [0, 1]",
        "failed": "steps that failed",
        "not_run": "steps that were not run because an earlier step of their chain failed",
    },
    params=CompositionParams,
)
