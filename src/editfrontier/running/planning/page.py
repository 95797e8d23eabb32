"""The plan of a run as text."""

from __future__ import annotations

from collections.abc import Sequence

from editfrontier.running.planning.costs import Stage
from editfrontier.running.planning.needs import Need, absences
from editfrontier.study.config.study import Study


def plan_text(study: Study, title: str, stages: Sequence[Stage], needs: Sequence[Need]) -> str:
    """Return the plan: jobs, hours and disk by stage, downloads, and what is missing."""
    lines = [f"Plan of {title}, results in {study.config['results']}, device {study.config['compute']['device']}", ""]
    if not stages:
        return "\n".join([*lines, "Everything is made already: no job would run."])
    rows: list[tuple[str, ...]] = [("stage", "jobs", "on a GPU", "GPU hours", "CPU hours", "disk")]
    rows += [_row(stage) for stage in stages]
    rows.append(_row(_total(stages)))
    lines += _table(rows)
    share = _total(stages).estimated
    if share > 0.005:
        lines += ["", f"{100 * share:.0f} % of the hours are estimated, not measured (config/gpu_seconds.csv)."]
    wanted = [need for need in needs if need.kind not in {"token", "package"} and not need.present]
    listed = [need for need in needs if need.size or need.licence or not need.present]
    if listed:
        lines += ["", "What it reads from outside:"]
        lines += _table([("", "name", "size", "there", "licence"), *(_need_row(need) for need in listed)])
    if len(listed) < len(needs):
        lines += ["", f"Models in local folders, all there: {len(needs) - len(listed)}."]
    if wanted:
        unknown = sum(need.size == 0 for need in wanted)
        more = f", and {unknown} of unknown size" if unknown else ""
        lines += ["", f"To download: {size_text(sum(need.size for need in wanted))}{more}."]
    absent = [need for need in needs if not need.present]
    if absent:
        lines += ["", f"Missing ({len(absent)}):"]
        lines += [f"  {kind:7}  {text}" for kind, text in absences(absent)]
    else:
        lines += ["", "Nothing is missing."]
    return "\n".join(lines)


def _total(stages: Sequence[Stage]) -> Stage:
    seconds = [stage.gpu_seconds + stage.cpu_seconds for stage in stages]
    estimated = sum(share.estimated * spent for share, spent in zip(stages, seconds, strict=True))
    return Stage(
        "total",
        sum(stage.jobs for stage in stages),
        sum(stage.gpu_jobs for stage in stages),
        sum(stage.gpu_seconds for stage in stages),
        sum(stage.cpu_seconds for stage in stages),
        estimated / sum(seconds) if sum(seconds) else 0.0,
        sum(stage.disk for stage in stages),
    )


def _row(stage: Stage) -> tuple[str, ...]:
    hours = (_hours(stage.gpu_seconds), _hours(stage.cpu_seconds))
    return (stage.name, str(stage.jobs), str(stage.gpu_jobs or "-"), *hours, size_text(stage.disk))


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return "-" if seconds == 0 else f"{hours:.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _need_row(need: Need) -> tuple[str, ...]:
    size = size_text(need.size) if need.size else "-" if need.kind in {"token", "package"} else "?"
    return (need.kind, need.name, size, "yes" if need.present else "no", need.licence)


def size_text(count: float) -> str:
    """Return bytes as text, for example "1.2 GB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def aligned(row: Sequence[str], text: str, column: int) -> str:
        number = all(any(c.isdigit() for c in other[column]) or other[column] in "-?" for other in rows[1:])
        return text.rjust(widths[column]) if number else text.ljust(widths[column])

    return ["  ".join(aligned(row, text, i) for i, text in enumerate(row)).rstrip() for row in rows]
