"""Tables: what is ranked, what is escaped, what stands for a number that is not there."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from editfrontier.base.errors import UserError
from editfrontier.study.results.naming import (
    decimals,
    format_value,
    parse_table,
    read_reported,
    read_statistics,
    styles,
)
from editfrontier.study.results.tables import (
    CSV_COLUMNS,
    Grid,
    build_grid,
    escape_latex,
    escape_markdown,
    to_latex,
    to_long,
    to_markdown,
    write_table,
)
from study_fixture import CONTROLS, EDITORS, HOSTILE, METRICS, Study, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study") / "fixture", cases=4)


def grid_of(study: Study, name: str = "table1") -> Grid:
    return build_grid(
        study.tables[name],
        read_statistics(study.root / "statistics" / "portraits.parquet"),
        read_reported(study.reported),
    )


def simple(values: dict[str, tuple[float, float]], metric: str = "id_sim", other: str = "lpips_bg_spatial") -> Grid:
    """A grid of made-up values: {variant: (metric, other)}."""
    frame = pd.DataFrame(
        [
            {
                "task": "portraits",
                "variant": variant,
                "metric": name,
                "value": value,
                "ci_low": value,
                "ci_high": value,
                "n": 3,
                "failed": 0,
            }
            for variant, pair in values.items()
            for name, value in zip((metric, other), pair, strict=True)
        ]
    )
    table = {
        "name": "made_up",
        "task": "portraits",
        "metrics": [metric, other],
        "rows": [{"variant": v} for v in values],
    }
    reported = read_reported(Path(__file__).resolve().parents[2] / "config" / "reported_values.csv")
    return build_grid(table, frame, reported)


def ranks(grid: Grid) -> dict[str, list[int]]:
    return {line.row.variant: [cell.rank for cell in line.cells] for line in grid.lines}


def test_best_and_second_follow_the_direction_of_each_metric() -> None:
    found = ranks(simple({"sdedit": (0.5, 0.3), "sd_inpaint": (0.9, 0.2), "mask_guided": (0.7, 0.1)}))
    assert found == {"sdedit": [0, 0], "sd_inpaint": [1, 2], "mask_guided": [2, 1]}


def test_controls_are_never_ranked() -> None:
    found = ranks(
        simple({"source": (1.0, 0.0), "true_edit": (0.99, 0.0), "sdedit": (0.5, 0.3), "mask_guided": (0.7, 0.1)})
    )
    assert found["source"] == found["true_edit"] == [0, 0]
    assert found["mask_guided"] == [1, 1]


def test_a_metric_without_a_direction_is_not_ranked() -> None:
    grid = simple({"sdedit": (0.5, 0.3), "mask_guided": (0.7, 0.1)}, other="changed_area")
    assert all(rank[1] == 0 for rank in ranks(grid).values())
    assert "**0.300**" not in to_markdown(grid)


def test_values_that_read_alike_share_the_first_rank() -> None:
    found = ranks(simple({"sdedit": (0.90001, 0.1), "sd_inpaint": (0.90002, 0.2), "mask_guided": (0.5, 0.3)}))
    assert found["sdedit"][0] == found["sd_inpaint"][0] == 1
    assert found["mask_guided"][0] == 2


def test_nan_is_neither_ranked_nor_printed() -> None:
    grid = simple({"sdedit": (math.nan, 0.1), "sd_inpaint": (0.8, 0.2), "mask_guided": (0.5, math.inf)})
    assert ranks(grid)["sdedit"][0] == 0
    for text in (to_markdown(grid), to_latex(grid)):
        assert "nan" not in text.lower()
        assert "inf" not in text.lower()


def test_a_single_editor_is_not_called_the_best() -> None:
    assert ranks(simple({"source": (1.0, 0.0), "sdedit": (0.5, 0.3)}))["sdedit"] == [0, 0]


def test_csv_is_long_with_every_row_and_metric(study: Study) -> None:
    frame = to_long(grid_of(study))
    assert tuple(frame.columns) == CSV_COLUMNS
    rows = {"reference", *CONTROLS, *EDITORS, ""}
    assert set(frame["variant"]) == rows
    assert set(frame["metric"]) == set(METRICS)
    assert len(frame) == (1 + len(CONTROLS) + len(EDITORS) + 3) * len(METRICS)
    failed = frame[frame["variant"] == "sdedit"]
    assert set(failed["failed"]) == {1}
    assert set(failed["n"]) == {3}


def test_paper_values_stand_beside_in_our_units(study: Study) -> None:
    frame = to_long(grid_of(study)).set_index(["editor", "metric"])
    assert frame.loc[("sdedit", "success"), "paper"] == pytest.approx(0.70)
    assert frame.loc[("sdedit", "clip_score"), "paper"] == pytest.approx(0.65)
    assert math.isnan(frame.loc[("sdedit", "kid"), "paper"])
    assert frame.loc[("tf_icon", "fid"), "paper"] == pytest.approx(85.2)
    assert math.isnan(frame.loc[("tf_icon", "fid"), "value"])
    ablation = to_long(grid_of(study, "table3"))
    row = ablation[(ablation["row"] == "w = 12, cosine") & (ablation["metric"] == "lpips_bg_masked")]
    assert row["paper"].item() == pytest.approx(0.072)


def test_paper_rows_that_were_not_run_stand_behind_the_editors(study: Study) -> None:
    labels = [line.row.label for line in grid_of(study).lines]
    assert labels.index("TF-ICON (not run)") == labels.index("Mask-guided") + 1
    assert to_markdown(grid_of(study)).count("(not run)") >= 3


def test_a_variant_without_statistics_is_named_and_not_invented(study: Study) -> None:
    grid = grid_of(study, "table3")
    line = next(line for line in grid.lines if line.row.variant == "mask_guided+mode=cumulative")
    assert line.status == "missing"
    assert line.row.label.endswith("(no results)")
    assert all(math.isnan(cell.value) for cell in line.cells)


def test_reference_against_reference_is_a_row_of_tables_with_controls(study: Study) -> None:
    assert any(line.row.variant == "reference" for line in grid_of(study).lines)
    assert not any(line.row.variant == "reference" for line in grid_of(study, "table3").lines)


def test_latex_rows_have_equal_cells_and_balanced_braces(study: Study) -> None:
    text = to_latex(grid_of(study))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.rstrip().endswith(r"\\")]
    assert len(rows) == 1 + 12
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(METRICS) + 2}
    plain = text.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    assert text.count(r"\begin") == text.count(r"\end")
    assert r"\textbf" in text
    assert r"\midrule" in body


def test_latex_escapes_every_special_character() -> None:
    text = escape_latex(HOSTILE)
    assert r"\input" not in text
    assert r"100\% of \$x\_1\textasciicircum{}2\$ \textbackslash{}input\{a\}" in text
    assert not re.search(r"(?<!\\)[&%$#_]", text)
    assert "<" not in text
    assert "~" not in text


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("[x]", "{}[x]"),
        (" *x", "{} *x"),
        ("a [%]", r"a [\%]"),
        ("---", "-{}-{}-"),
        ("`a` \x07\x1b", r"\textasciigrave{}a\textasciigrave{} "),
    ],
)
def test_latex_commands_take_nothing_of_a_label(text: str, latex: str) -> None:
    assert escape_latex(text) == latex


def test_latex_tables_say_that_other_scripts_need_another_engine(study: Study) -> None:
    for label, said in (("中文", True), ("Café", False)):
        table = {**study.tables["table1"], "rows": [{"variant": "sdedit", "label": label}]}
        summary = read_statistics(study.root / "statistics" / "portraits.parquet")
        assert ("LuaLaTeX" in to_latex(build_grid(table, summary, read_reported(study.reported)))) is said


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("5$ or 10$", r"5\$ or 10\$"),
        ("- a - b", r"\- a - b"),
        ("12. May", r"12\. May"),
        ("=1+2", r"\=1+2"),
        ("w = 7.5", "w = 7.5"),
        ("7.5", "7.5"),
    ],
)
def test_markdown_makes_neither_formulas_nor_lists_of_texts(text: str, markdown: str) -> None:
    assert escape_markdown(text) == markdown


def test_markdown_escapes_markup_and_cell_borders(study: Study) -> None:
    text = escape_markdown(HOSTILE)
    assert "<" not in text
    assert not re.search(r"(?<!\\)[|`*]", text)
    table = dict(study.tables["table1"])
    table["rows"] = [{"variant": "sdedit", "label": HOSTILE}, {"variant": "mask_guided", "label": "a | b"}]
    grid = build_grid(
        table, read_statistics(study.root / "statistics" / "portraits.parquet"), read_reported(study.reported)
    )
    rows = [line for line in to_markdown(grid).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(METRICS) + 4}
    assert "<script>" not in "".join(rows)


def test_write_table_writes_three_files_twice_the_same(study: Study, tmp_path: Path) -> None:
    def write(folder: Path) -> list[bytes]:
        paths = [folder / f"table1.{suffix}" for suffix in ("csv", "md", "tex")]
        write_table(study.tables["table1"], study.root / "statistics" / "portraits.parquet", study.reported, *paths)
        return [path.read_bytes() for path in paths]

    first = write(tmp_path / "a")
    assert all(first)
    assert first == write(tmp_path / "b")


def test_missing_column_missing_file_and_missing_key_name_the_cause(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "statistics.parquet"
    with pytest.raises(UserError, match=r"statistics\.parquet: no such table"):
        read_statistics(path)
    pd.DataFrame({"task": ["a"]}).to_parquet(path)
    with pytest.raises(UserError, match="'variant' is missing"):
        read_statistics(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(UserError, match="not a readable parquet"):
        read_statistics(path)
    with pytest.raises(UserError, match="'metrics' is missing"):
        parse_table({"name": "t", "task": "portraits", "rows": []})


def test_decimals_and_format() -> None:
    assert decimals("id_sim", [0.9]) == 3
    assert decimals("fid", [65.2, math.nan]) == 1
    assert decimals("success", [0.5]) == 1
    assert format_value("success", 0.875, 1) == "87.5"
    assert format_value("id_sim", -0.0001, 3) == "0.000"
    assert format_value("id_sim", math.nan, 3) == ""


def test_styles_are_fixed_for_known_editors_and_distinct_for_new_ones() -> None:
    alone, together = styles(["mask_guided"]), styles(["zebra", "mask_guided", "apple"])
    assert alone["mask_guided"] == together["mask_guided"]
    assert len({(s.colour, s.marker) for s in together.values()}) == 3
    assert styles(["source"])["source"].control
