"""The rule of all verdicts, stated before anything was measured (docs/claims.md).

A claim is a list of parts. Each part says in which range an effect lies. A part holds if the whole interval of the
effect lies in that range, is contradicted if the whole interval lies outside of it, and is open otherwise. A claim is
supported if all of its parts hold, not supported if one is contradicted, else inconclusive. Where effects come with p
values of "no difference", these are Holm-corrected over the parts of the claim, and a part whose corrected p is not
below 1 - level is open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from editfrontier.statistics import bootstrap
from editfrontier.statistics.estimate import Effect, Estimate
from editfrontier.study.judging.verdict import Absent, Verdict

_ORDER = ("contradicted", "open", "holds")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that a claim says.

    Attributes:
        what: the effect in words, for example "SDEdit minus TF-ICON, FID".
        effect: as measured; low = high = value for what is counted and not estimated. An `Effect` has a p value too.
        above, below: the claim says above < effect < below.
        unit: of the effect.
        paper: the effect by the paper's numbers; NaN = it gives none.
        chance: the effect is the share of bootstrap resamples in which something is so. The part holds if that share is
            at least the level of the intervals, and is contradicted if it is at most 1 - level.
    """

    what: str
    effect: Estimate
    above: float = -math.inf
    below: float = math.inf
    unit: str = ""
    paper: float = math.nan
    chance: bool = False

    @property
    def p(self) -> float:
        """The p value of "no effect", NaN without a test."""
        return self.effect.p if isinstance(self.effect, Effect) else math.nan

    def state(self, p: float = math.nan, alpha: float = 0.05) -> str:
        """Return "holds", "contradicted" or "open"; p: corrected, NaN = no test."""
        low, high = self.effect.low, self.effect.high
        if self.chance:
            share = self.effect.value
            return "holds" if share >= 1 - alpha else "contradicted" if share <= alpha else "open"
        if math.isnan(low) or math.isnan(high) or (math.isfinite(p) and p >= alpha):
            return "open"
        if self.above < low and high < self.below:
            return "holds"
        return "contradicted" if high <= self.above or low >= self.below else "open"

    @property
    def direction(self) -> str:
        """Where the claim puts the effect, in words."""
        if self.chance:
            return "in nearly all resamples"
        if math.isinf(self.below):
            return f"above {self.above:g}"
        return f"below {self.below:g}" if math.isinf(self.above) else f"between {self.above:g} and {self.below:g}"

    @property
    def slack(self) -> float:
        """How far inside the claimed range the effect lies, in widths of its interval; negative outside.

        Without a limit for what is counted, whose interval has no width; so parts of any units can be compared.
        """
        if self.chance:
            return self.effect.value
        distance = min(self.effect.value - self.above, self.below - self.effect.value)
        width = self.effect.high - self.effect.low
        if width == 0:
            return math.inf if distance > 0 else -math.inf
        return distance / width if math.isfinite(width) else distance


def decide(parts: Sequence[Part], note: str = "", alpha: float = 0.05) -> Verdict:
    """Return the verdict on a claim of these parts.

    Args:
        parts: all of them must hold.
        note: a sentence for the end of the reason.
        alpha: 1 - level of the intervals.

    Raises:
        Absent: there are no parts, or none has a value.
    """
    known = [part for part in parts if math.isfinite(part.effect.value)]
    if not known:
        which = f" ({parts[0].what})" if parts else ""
        raise Absent(f"No case has the quantity of the claim{which}.")
    return _decide(parts, holm([part.p for part in parts]), note, alpha)


def _decide(parts: Sequence[Part], adjusted: Sequence[float], note: str, alpha: float) -> Verdict:
    states = [part.state(p, alpha) for part, p in zip(parts, adjusted, strict=True)]
    decisive = min(range(len(parts)), key=lambda i: (_ORDER.index(states[i]), _nan_last(parts[i].slack)))
    part, state = parts[decisive], states[decisive]
    counts = {name: states.count(name) for name in _ORDER}
    match state:
        case "holds":
            verdict = "supported"
            several = f"All {len(parts)} parts hold; shown is the weakest."
            alone = "It is so" if part.chance else "The whole interval lies"
            reason = several if len(parts) > 1 else f"{alone} {part.direction}, as claimed."
        case "contradicted":
            verdict = "not supported"
            rest = "it is so in hardly any" if part.chance else "the whole interval lies elsewhere"
            reason = f"Claimed {part.direction}, and {rest}."
        case _:
            verdict = "inconclusive"
            reason = f"Claimed {part.direction}, {_open(part, adjusted[decisive], alpha)}."
    if len(parts) > 1 and state != "holds":
        held, against = counts["holds"], counts["contradicted"]
        reason += f" Shown is one of {len(parts)} parts, of which {held} hold and {against} are contradicted."
    return Verdict(
        verdict=verdict,  # type: ignore[arg-type]
        reason=f"{reason} {note}".strip(),
        what=part.what,
        effect=Effect(**part.effect.fields(), p=adjusted[decisive]),
        direction=part.direction,
        unit=part.unit,
        paper=part.paper,
    )


def decide_any(options: Sequence[Sequence[Part]], alpha: float = 0.05) -> Verdict:
    """Return the verdict on a claim that at least one of several things is so, each a list of parts.

    It is supported if one option is, not supported if none of them is, else inconclusive. p values are Holm-corrected
    over the parts of all options.

    Raises:
        Absent: there are no options, or none has a value.
    """
    flat = [part for option in options for part in option]
    corrected = iter(holm([part.p for part in flat]))
    verdicts = []
    for option in options:
        adjusted = [next(corrected) for _ in option]
        if any(math.isfinite(part.effect.value) for part in option):
            verdicts.append(_decide(option, adjusted, "", alpha))
    if not verdicts:
        raise Absent("No case has the quantity of the claim.")
    names = [verdict.verdict for verdict in verdicts]
    for name, reason in (
        (
            "supported",
            f"{names.count('supported')} of {len(verdicts)} options hold; shown is the weakest part of the first.",
        ),
        ("inconclusive", f"No option holds for sure, {names.count('inconclusive')} of {len(verdicts)} are open."),
        ("not supported", f"None of {len(verdicts)} options holds."),
    ):
        if name in names:
            first = verdicts[names.index(name)]
            return replace(first, reason=reason if name == "supported" else f"{reason} {first.reason}")
    raise AssertionError(names)


def _open(part: Part, p: float, alpha: float) -> str:
    if not math.isfinite(part.effect.value):
        return "but no case has it"
    if part.chance:
        return f"but the share is {part.effect.value:.0%}"
    if math.isnan(part.effect.low) or math.isnan(part.effect.high):
        return "but it has no interval"
    if part.state() != "open":
        return f"as its interval, but p = {p:.2g} over all parts" if part.state() == "holds" else f"but p = {p:.2g}"
    bound = next(b for b in (part.above, part.below) if math.isfinite(b) and part.effect.low <= b <= part.effect.high)
    return f"but the interval holds {bound:g}"


def _nan_last(value: float) -> tuple[bool, float]:
    return math.isnan(value), value


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values of the parts of a claim (`bootstrap.holm`); NaNs stay."""
    return [float(value) for value in bootstrap.holm(np.array(p, dtype=np.float64))]
