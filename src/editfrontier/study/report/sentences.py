"""What the report says in words: sentences that are computed from the tables that they stand beside."""

from __future__ import annotations

import math
from collections.abc import Sequence

from editfrontier.study.results.grids import Grid, Line
from editfrontier.study.results.naming import guidance_of

_LEADS = {
    "success": "makes the edit most often",
    "id_sim": "keeps the person best",
    "lpips_bg_spatial": "changes the background least",
    "psnr_source": "gives sources back best",
    "iou_target": "brings regions nearest to their targets",
    "lpips_bg_masked": "changes the background least",
}
_NEAR = 1.25
"""Two numbers of evaluations count as equal within this factor: FireFlow takes one more than it has steps."""


def findings(grid: Grid, ablation: Grid | None) -> list[str]:
    """Return a few sentences that sum up the comparison of editors."""
    sentences = []
    leaders = {
        name: line for name in ("success", "id_sim", "lpips_bg_spatial") if (line := _leader(grid, name)) is not None
    }
    sentences += [_lead(grid, line, name) for name, line in leaders.items()]
    success, identity = leaders.get("success"), leaders.get("id_sim")
    if success is not None and identity is not None:
        same = success.row.variant == identity.row.variant
        sentences.append(
            "It leads on both axes of the trade-off."
            if same
            else "No editor leads on both axes: success and identity have different winners."
        )
    if ablation is not None and (text := _guidance_sentence(ablation)):
        sentences.append(text)
    return sentences


def inversion_sentences(grid: Grid) -> list[str]:
    """Return what the table of inversions says: the best, equal cost, the autoencoder's floor, the paper's order."""
    sentences = []
    cost = _column(grid, "forwards")
    best = _leader(grid, "psnr_source")
    if best is not None:
        spent = f" for {grid.text(cost, best.cells[cost].value)} network evaluations" if cost is not None else ""
        sentences.append(f"{_lead(grid, best, 'psnr_source').removesuffix('.')}{spent}.")
    if cost is not None and (text := _equal_cost(grid, cost)):
        sentences.append(text)
    sentences += _floors(grid)
    if text := _paper_order(grid, "psnr_source"):
        sentences.append(text)
    return sentences


def drag_sentences(grid: Grid, by_size: Grid | None) -> list[str]:
    """Return what the table of drags says: the best, who beats no edit and copying, background, size, the paper."""
    sentences = []
    best = _leader(grid, "iou_target")
    if best is not None:
        sentences.append(_lead(grid, best, "iou_target"))
    sentences += [text for editor in ("source", "copy_paste") if (text := _against(grid, editor, "iou_target"))]
    quiet = _leader(grid, "lpips_bg_masked")
    if quiet is not None:
        sentences.append(_lead(grid, quiet, "lpips_bg_masked"))
    if by_size is not None and (text := _over_sizes(by_size, "iou_target")):
        sentences.append(text)
    if text := _paper_order(grid, "iou_target"):
        sentences.append(text)
    return sentences


def _column(grid: Grid, name: str) -> int | None:
    return next((i for i, metric in enumerate(grid.metrics) if metric.name == name), None)


def _leader(grid: Grid, name: str) -> Line | None:
    column = _column(grid, name)
    return None if column is None else next((line for line in grid.lines if line.cells[column].rank == 1), None)


def _lead(grid: Grid, line: Line, name: str) -> str:
    column = _column(grid, name)
    assert column is not None
    level = [other.row.label for other in grid.lines if other.cells[column].rank == 1 and other is not line]
    shared = f"; level with {', '.join(level)}" if level else ""
    if any(other.cells[column].unranked for other in grid.lines):
        shared += "; of the editors with values on the same cases"
    return f"{line.row.label} {_LEADS[name]} ({_with_interval(grid, line, column)}{shared})."


def _with_interval(grid: Grid, line: Line, column: int) -> str:
    cell, metric = line.cells[column], grid.metrics[column]
    text = f"{metric.label.lower() if metric.percent else metric.label} {_value(grid, line, column)}"
    low, high = grid.interval(column, cell)
    if low:
        text += f", 95% interval {low} to {high}"
    return text


def _value(grid: Grid, line: Line, column: int) -> str:
    metric = grid.metrics[column]
    unit = metric.shown_unit if metric.percent or not metric.unit else f" {metric.unit}"
    return f"{grid.text(column, line.cells[column].value)}{unit}"


def _editors(grid: Grid, column: int) -> list[Line]:
    return [line for line in grid.lines if not line.row.control and math.isfinite(line.cells[column].value)]


def _guidance_sentence(grid: Grid) -> str:
    sweep = sorted(
        (w, line)
        for line in grid.lines
        if line.status == "ok" and (w := guidance_of(line.row.variant, 7.5)) is not None
    )
    if len(sweep) < 2 or _column(grid, "id_sim") is None:
        return ""
    (w0, first), (w1, last) = sweep[0], sweep[-1]
    parts = []
    for name in ("success", "clip_score", "id_sim"):
        column = _column(grid, name)
        if column is not None:
            unit = "%" if grid.metrics[column].percent else ""
            ends = [grid.text(column, line.cells[column].value) for line in (first, last)]
            if all(ends):
                parts.append(f"{grid.metrics[column].label} goes from {ends[0]} to {ends[1]}{unit}")
    return f"From guidance scale {w0:g} to {w1:g}, mask-guided {'; '.join(parts)}." if parts else ""


def _equal_cost(grid: Grid, cost: int) -> str:
    """Compare methods of one model where most of them spend about the same."""
    column = _column(grid, "psnr_source")
    if column is None:
        return ""
    lines = [line for line in _editors(grid, column) if line.cells[cost].value > 0]
    best: list[Line] = []
    for anchor in lines:
        near: dict[str, Line] = {}
        for line in sorted(lines, key=lambda other: abs(math.log(other.cells[cost].value / anchor.cells[cost].value))):
            ratio = line.cells[cost].value / anchor.cells[cost].value
            if line.row.editor == anchor.row.editor and 1 / _NEAR <= ratio <= _NEAR:
                near.setdefault(line.row.group, line)
        if len(near) > len(best):
            best = list(near.values())
    if len(best) < 2:
        return ""
    order = sorted(best, key=lambda line: -line.cells[column].value)
    spent = sorted(line.cells[cost].value for line in order)
    each = "; ".join(f"{line.row.label}, {_value(grid, line, column)}" for line in order)
    return (
        f"At nearly equal cost, {grid.text(cost, spent[0])} to {grid.text(cost, spent[-1])} evaluations, from best to "
        f"worst: {each}."
    )


def _floors(grid: Grid) -> list[str]:
    """Say how near the best inversion of each model comes to its autoencoder alone."""
    column, cost = _column(grid, "psnr_source"), _column(grid, "forwards")
    if column is None or cost is None:
        return []
    sentences = []
    for floor in grid.lines:
        if floor.cells[cost].value > 0:
            continue
        rivals = [line for line in _editors(grid, column) if line.row.editor == floor.row.editor]
        if not floor.row.control or not rivals or not math.isfinite(floor.cells[column].value):
            continue
        best = max(rivals, key=lambda line: line.cells[column].value)
        gap = floor.cells[column].value - best.cells[column].value
        unit = grid.metrics[column].unit
        where = f"{gap:.1f} {unit} below it" if gap >= 0.05 else "level with it"
        sentences.append(
            f"{floor.row.label}: {_value(grid, floor, column)}, which no inversion behind it can be expected to "
            f"exceed; the best, {best.row.label}, is {where}."
        )
    return sentences


def _against(grid: Grid, editor: str, name: str) -> str:
    """Count the editors whose whole interval is better than a control."""
    column = _column(grid, name)
    control = next((line for line in grid.lines if line.row.control and line.row.editor == editor), None)
    if column is None or control is None or not math.isfinite(control.cells[column].value):
        return ""
    editors, bound = _editors(grid, column), control.cells[column].value
    better = [line.row.label for line in editors if line.cells[column].low > bound]
    names = f": {'; '.join(better)}" if better else ""
    value = _value(grid, control, column)
    return (
        f"{len(better) or 'None'} of {len(editors)} editors exceed “{control.row.label}” ({value}) by more than their "
        f"interval{names}."
    )


def _over_sizes(grid: Grid, name: str) -> str:
    """Say what the leader of the first part and the one that loses most become in the last part."""
    column = _column(grid, name)
    parts = list(dict.fromkeys(line.subset for line in grid.lines))
    if column is None or len(parts) < 2:
        return ""
    ends = [
        {line.row.variant: line for line in _editors(grid, column) if line.subset == p} for p in (parts[0], parts[-1])
    ]
    common = [variant for variant in ends[0] if variant in ends[1]]
    if not common:
        return ""

    def change(variant: str) -> str:
        first, last = (end[variant] for end in ends)
        return f"that of {first.row.label} from {_value(grid, first, column)} to {_value(grid, last, column)}"

    best = max(common, key=lambda v: ends[0][v].cells[column].value)
    loser = max(common, key=lambda v: ends[0][v].cells[column].value - ends[1][v].cells[column].value)
    both = change(best) if loser == best else f"{change(best)}, {change(loser)}"
    return f"From {parts[0]} to {parts[-1]} drags the mean {grid.metrics[column].label} changes: {both}."


def _paper_order(grid: Grid, name: str) -> str:
    """Say whether the rows that the paper reports too come in the same order here."""
    column = _column(grid, name)
    if column is None:
        return ""
    lines = [line for line in _editors(grid, column) if math.isfinite(line.cells[column].paper)]
    if len(lines) < 2:
        return ""
    sign = -1 if grid.metrics[column].direction == "higher" else 1
    theirs = _labels(sorted(lines, key=lambda line: sign * line.cells[column].paper))
    ours = _labels(sorted(lines, key=lambda line: sign * line.cells[column].value))
    label = grid.metrics[column].label
    if ours == theirs:
        return f"By {label} the paper’s order holds here: {'; '.join(theirs)}."
    return f"By {label} the paper’s order is {'; '.join(theirs)}. Here it is {'; '.join(ours)}."


def _labels(lines: Sequence[Line]) -> list[str]:
    return [line.row.label for line in lines]
