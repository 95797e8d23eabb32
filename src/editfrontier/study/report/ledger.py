"""The ledger of claims as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Container
from pathlib import Path
from typing import Any

from editfrontier.base.csv_files import read_rows
from editfrontier.statistics.estimate import Estimate
from editfrontier.study.judging.verdict import VERDICTS
from editfrontier.study.results.naming import number

# Verdict -> class of its chip, and the sign in it, so that colour alone never carries it.
_LOOK = dict(zip(VERDICTS, (("good", "✓"), ("bad", "✗"), ("open", "?"), ("untested", "–")), strict=True))


def ledger(root: Path, anchors: Container[str]) -> dict[str, Any]:
    """Return the claims with their verdicts, and how many have each; no rows where there is no ledger.

    Args:
        root: results folder of the scale, with claims.csv.
        anchors: names that the page has; a link to anything else is left out.
    """
    path = root / "claims.csv"
    if not path.is_file():
        return {"rows": [], "counts": []}
    rows = [_row(entry, anchors) for entry in read_rows(path)]
    reached = [row["verdict"] for row in rows]
    counts = [
        {"verdict": name, "look": _LOOK[name][0], "sign": _LOOK[name][1], "count": reached.count(name)}
        for name in VERDICTS
        if name in reached
    ]
    return {"rows": rows, "counts": counts}


def _row(entry: dict[str, str], anchors: Container[str]) -> dict[str, Any]:
    value, low, high, paper, p = (number(entry[key]) for key in ("effect", "ci_low", "ci_high", "paper", "p"))  # type: ignore[arg-type]
    effect = Estimate(value, low, high)
    look, sign = _LOOK.get(entry["verdict"], ("untested", "–"))  # type: ignore[call-overload]
    return {
        **{key: entry[key] for key in ("id", "claim", "where", "verdict", "what", "unit", "direction", "reason", "n")},
        "look": look,
        "sign": sign,
        "effect": signed(value, decimals(effect)),
        "interval": interval(effect),
        "paper": f"{paper:.4g}".replace("-", "−") if math.isfinite(paper) else "",
        "reported": entry["reported"].split("; ") if entry["reported"] else [],
        "p": "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}",
        "link": entry["link"] if entry["link"] in anchors else "",
    }


def interval(estimate: Estimate) -> str:
    """Return the bounds of an estimate as readers see them, "" without any."""
    places = decimals(estimate)
    return f"{signed(estimate.low, places)} to {signed(estimate.high, places)}" if estimate.bounded else ""


def decimals(estimate: Estimate) -> int:
    """Return the decimals that an estimate is shown with: two digits of the width of its interval, else three of it.

    If it lies near one end of the interval, two digits of its distance from that end, so that they can be told apart.
    """
    value, low, high = estimate.value, estimate.low, estimate.high
    width = abs(high - low) if math.isfinite(high - low) else 0.0
    nearer = min(abs(value - low), abs(high - value)) if width > 0 else 0.0
    scale, digits = (width, 2) if width > 0 else (abs(value), 3)
    if 0 < nearer < width / 10:
        scale = max(nearer, width / 1000)
    if not math.isfinite(scale) or scale == 0:
        return 2
    return min(max(digits - 1 - math.floor(math.log10(scale)), 0), 6)


def signed(value: float, places: int) -> str:
    """Return a number with a minus sign that is one, "" for NaN."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    return (text[1:] if float(text) == 0 and text.startswith("-") else text).replace("-", "−")
