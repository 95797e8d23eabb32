"""How results are named, drawn and read: labels and styles of editors, table entries, summaries, paper's values."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.editing.editor import EDITORS, Editor, get_editor
from editfrontier.scoring.metrics import METRICS, Metric

if TYPE_CHECKING:
    import pandas as pd

STATISTICS_COLUMNS = ("task", "variant", "metric", "value", "ci_low", "ci_high", "n", "failed")
SUBSET_COLUMNS = ("split", "subset")
REPORTED_COLUMNS = ("table", "task", "method", "configuration", "metric", "direction", "value", "unit")

# Of editors without a look of their own: no colour is that of an editor of this project or of a quoted method.
_SPARE_COLOURS = ("#A0B000", "#B00020", "#4B2A85", "#F2C200", "#1B5E20", "#FF7FA8")
_SPARE_MARKERS = ("d", "8", "H", "*", "<", "p")
# Of further rows of one editor.
_ROW_COLOURS = ("#56B4E9", "#C2528B", "#009E73", "#D98200")
_ROW_MARKERS = ("v", "P", "h", "<", ">", "p")
_GROUP_LOOKS = (
    ("#0072B2", "o"),
    ("#D98200", "s"),
    ("#009E73", "^"),
    ("#C2528B", "D"),
    ("#56B4E9", "v"),
    ("#D55E00", "h"),
    ("#7F5FB5", ">"),
    ("#8C6D31", "P"),
    ("#4C4C4C", "X"),
)
_CONTROL_LOOK = ("#6B6B6B", "o")


@dataclass(frozen=True)
class Look:
    """What tables and figures name that is no editor: how it is called and drawn, as `Editor` says it of editors."""

    label: str
    colour: str
    marker: str
    control: bool = False


_OTHERS = {
    "reference": Look("Reference against reference", "#6B6B6B", "P", control=True),
    "fireflow": Look("FireFlow", "#00C2A8", "s"),
    "ddim": Look("DDIM", "#C9A0FF", "o"),
}
"""The reference images against themselves, and methods whose numbers are only quoted from the paper."""


@dataclass(frozen=True)
class Style:
    """Colour and marker of an editor in every figure; controls are drawn hollow."""

    colour: str
    marker: str
    control: bool


@dataclass(frozen=True)
class Row:
    """One row of a table: a variant, how it is called, and the configuration of the paper that it stands beside."""

    variant: str
    editor: str
    label: str
    paper: str  # configuration in the reported values, "" if the paper has none
    group: str
    control: bool
    method: str = ""  # in the reported values, "" = the editor's name
    params: Mapping[str, Any] = field(default_factory=dict)  # hyperparameters that differ from the editor's defaults

    @property
    def reported(self) -> tuple[str, str]:
        """Method and configuration in the reported values."""
        return self.method or self.editor, self.paper


@dataclass(frozen=True)
class Table:
    """A table of the study."""

    name: str
    title: str
    caption: str
    task: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    by: str = ""  # what its cases are split by, "" = all together
    parent: str = ""  # the table that it splits
    section: str = ""  # of the page; "" = with the analysis that reads it, else among further tables
    look: str = "editor"  # what has a colour and a marker of its own: "editor", "row" or "group"


def editor_of(variant: str) -> str:
    """Return the editor of a variant name (`editor+key=value,key=value`)."""
    return variant.partition("+")[0]


def _look(name: str) -> Editor | Look | None:
    """Return what knows the label and look of a name, None if nothing does: an editor that is not installed."""
    return _OTHERS.get(name) or (get_editor(name) if name in EDITORS else None)


def editor_label(editor: str) -> str:
    """Return the name of an editor for readers."""
    look = _look(editor)
    return (look.label if look else "") or editor


def is_control(editor: str) -> bool:
    """Return whether a row of an editor says what a number is worth, rather than what an editing method does."""
    look = _look(editor)
    return look is not None and look.control


def variant_label(variant: str) -> str:
    """Return the name of a variant for readers: the editor, then what differs from its defaults."""
    editor, _, overrides = variant.partition("+")
    return editor_label(editor) + (f" ({overrides.replace(',', ', ')})" if overrides else "")


def parse_table(table: Mapping[str, Any] | Table) -> Table:
    """Return the typed form of a table's config entry (see `tables.write_table` for its keys)."""
    if isinstance(table, Table):
        return table
    try:
        name, task = str(table["name"]), str(table["task"])
        metrics = tuple(str(metric) for metric in table["metrics"])
        rows = tuple(_parse_row(row, name) for row in table["rows"])
    except KeyError as error:
        raise UserError(f"table '{table.get('name', '?')}': the key {error} is missing. Add it.") from None
    keys = ("title", "caption", "by", "parent", "section")
    title, caption, by, parent, section = (str(table.get(key) or "") for key in keys)
    look = str(table.get("look") or "editor")
    return Table(name, title or name, caption, task, metrics, rows, by, parent, section, look)


def _parse_row(row: Mapping[str, Any] | str, table: str) -> Row:
    entry: Mapping[str, Any] = {"variant": row} if isinstance(row, str) else row
    variant = str(entry["variant"])
    editor = str(entry.get("editor") or editor_of(variant))
    default_paper = "default" if table == "table1" else ""
    method, _, configuration = str(entry.get("paper") or default_paper).rpartition("/")
    return Row(
        variant=variant,
        editor=editor,
        label=str(entry.get("label") or variant_label(variant)),
        paper=configuration,
        group=str(entry.get("group") or ""),
        control=bool(entry.get("control", is_control(editor))),
        method=method,
        params=dict(entry.get("params") or {}),
    )


def guidance_of(text: str, default: float | None = None) -> float | None:
    """Return the guidance scale that a variant name or a configuration of the paper states, else the default.

    Returns None for a variant that differs in anything but guidance: it is no point of the guidance sweep.
    """
    overrides = text.partition("+")[2] if "+" in text else text
    if match := re.fullmatch(r"(?:guidance_scale=|w=)([0-9.]+)(?: cosine)?", overrides):
        return float(match.group(1))
    return default if "+" not in text and "=" not in text else None


def row_styles(rows: Sequence[Row]) -> dict[str, Style]:
    """Return a style for the variant of every row: an editor's first row has the editor's, further rows spare ones."""
    by_variant: dict[str, Style] = {}
    look = styles([row.editor for row in rows])
    used = {look[row.editor].colour for row in rows if not row.control}
    colours = [colour for colour in _ROW_COLOURS if colour not in used] + ["#4C4C4C"]
    taken = {*_known_pairs(), *((style.colour, style.marker) for style in look.values())}
    further = itertools.chain(_pairs(colours, _ROW_MARKERS), _pairs(_SPARE_COLOURS, _SPARE_MARKERS))
    # In one table markers differ too, as far as they suffice.
    used_markers = {style.marker for style in look.values()}
    spare = itertools.cycle(
        sorted((pair for pair in further if pair not in taken), key=lambda pair: pair[1] in used_markers)
    )
    seen: set[str] = set()
    for row in rows:
        usual = look[row.editor]
        pair = next(spare) if row.editor in seen and not row.control else (usual.colour, usual.marker)
        by_variant[row.variant] = Style(*pair, row.control)
        seen.add(row.editor)
    return by_variant


def _pairs(colours: Sequence[str], markers: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs of a colour and a marker; both change from each to the next, as long as that is possible."""
    turn = math.lcm(len(colours), len(markers))
    return [
        (colours[i % len(colours)], markers[(i + i // turn) % len(markers)]) for i in range(len(colours) * len(markers))
    ]


def group_styles(rows: Sequence[Row]) -> dict[str, Style]:
    """Return a style for the variant of every row, the same for all rows of a group; controls are grey."""
    looks = [*_GROUP_LOOKS, *_pairs(_SPARE_COLOURS, _SPARE_MARKERS)]
    groups = list(dict.fromkeys(row.group or row.label for row in rows if not row.control))
    by_variant = {}
    for row in rows:
        look = _CONTROL_LOOK if row.control else looks[groups.index(row.group or row.label) % len(looks)]
        by_variant[row.variant] = Style(*look, row.control)
    return by_variant


def styles(editors: Iterable[str]) -> dict[str, Style]:
    """Return the style of every editor; those without a look of their own share out the spare ones by name."""
    names = list(dict.fromkeys(editors))
    pairs = {name: (look.colour, look.marker) for name in names if (look := _look(name)) and look.colour}
    free = [pair for pair in _pairs(_SPARE_COLOURS, _SPARE_MARKERS) if pair not in pairs.values()]
    pairs |= zip(sorted(set(names) - pairs.keys()), itertools.cycle(free), strict=False)
    return {name: Style(*pairs[name], is_control(name)) for name in names}


@cache
def _known_pairs() -> frozenset[tuple[str, str]]:
    """Return the colours and markers that editors of this project and quoted methods have."""
    looks: list[Editor | Look] = [*EDITORS.load_all(EDITORS.own_names()).values(), *_OTHERS.values()]
    return frozenset((look.colour, look.marker) for look in looks if look.colour)


def metric_display(name: str) -> Metric:
    """Return a metric for readers; one that is unknown (of a package that is gone) is never ranked."""
    known = METRICS.get(name)
    return known or Metric(
        name=name, label=name, direction="none", range=(None, None), group="truth", description="", source=""
    )


def statistics_file(root: Path, table: Table) -> Path:
    """Return where the summary lies that a table shows: of the task's cases, or of their parts."""
    return root / "statistics" / f"{table.task}{'.subsets' if table.by else ''}.parquet"


def read_statistics(path: Path, subsets: bool = False) -> pd.DataFrame:
    """Read a summary table (of parts of the cases if `subsets`) and check its columns; `UserError` names the file."""
    frame, _ = read_parquet(path, "Make it with `snakemake statistics`.")
    expected = (*SUBSET_COLUMNS, *STATISTICS_COLUMNS) if subsets else STATISTICS_COLUMNS
    missing = [column for column in expected if column not in frame.columns]
    if missing:
        raise UserError(f"{path}: the column '{missing[0]}' is missing, expected {', '.join(expected)}.")
    return frame


def read_reported(path: Path) -> pd.DataFrame:
    """Read the values that the paper reports; ratios stay ratios (a percentage becomes a fraction)."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Restore it with `git checkout config/reported_values.csv`.") from None
    missing = [column for column in REPORTED_COLUMNS if column not in frame.columns]
    if missing:
        raise UserError(f"{path}: the column '{missing[0]}' is missing, expected {', '.join(REPORTED_COLUMNS)}.")
    value = pd.to_numeric(frame["value"], errors="coerce")
    frame["value"] = value.where(frame["unit"] != "percent", value / 100)
    return frame


def paper_values(reported: pd.DataFrame, table: str) -> dict[tuple[str, str], dict[str, float]]:
    """Return {(method, configuration): {our metric name: value}} of one table of the paper."""
    ours: dict[str, list[str]] = {}
    for metric in METRICS.values():
        ours.setdefault(metric.paper, []).append(metric.name)
    reported_values: dict[tuple[str, str], dict[str, float]] = {}
    for entry in reported[reported["table"] == table].itertuples():
        values = reported_values.setdefault((str(entry.method), str(entry.configuration)), {})
        for name in ours.get(str(entry.metric), [str(entry.metric)]):
            values[name] = float(entry.value)  # type: ignore[arg-type]
    return reported_values


def number(value: float | None) -> float:
    """Return the value as a float, NaN for anything that is not a finite number."""
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def decimals(metric: str, values: Sequence[float]) -> int:
    """Return how many decimals a column of values is shown with: about three significant digits of the largest."""
    places = metric_display(metric).decimals
    if places or (places == 0 and all(v == round(v) for v in values if math.isfinite(v))):
        return places
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    if largest == 0:
        return 3
    return next((places for bound, places in ((10, 1), (2, 2), (0.1, 3)) if largest >= bound), 4)


def printed_decimals(metric: str, values: Sequence[float]) -> int:
    """Return how many decimals a source printed a column of values with, as far as the values tell."""
    scale = 100 if metric_display(metric).percent else 1
    texts = [f"{scale * value:.10g}" for value in values if math.isfinite(value)]
    return max((len(text.partition(".")[2]) for text in texts), default=0)


def format_value(metric: str, value: float, places: int) -> str:
    """Return a value as readers see it (fractions of cases in percent), "" for NaN."""
    if not math.isfinite(value):
        return ""
    if metric_display(metric).percent:
        return f"{100 * value:.{places}f}"
    text = f"{value:.{places}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text
