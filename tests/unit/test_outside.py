"""An editor, a metric and a figure of installed packages, one file each, in a config, a table, a figure, the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from editfrontier.base.registry import Registry
from editfrontier.editing.editor import EDITORS, Editor
from foreign_packages import put_package
from study_fixture import page_data

ROOT = Path(__file__).resolve().parents[2]

EDITOR = """
from editfrontier.editors import Editor, NoParams

EDITOR = Editor(
    "{name}", NoParams, lambda model, batch, params: batch.images, label="Glow & shine", colour="#123ABC", marker="8"
)
"""
METRIC = """
from editfrontier.scoring.metrics import Metric

METRIC = Metric(
    name="{name}",
    label="Brightness of all",
    unit="cd",
    direction="higher",
    range=(0.0, None),
    group="quality",
    description="mean of the image",
    source="nobody",
    compute=lambda batch: batch.edited.float().mean((1, 2, 3)),
)
"""
FIGURE = """
from editfrontier.study.figure import Figure

def draw(inputs):
    import matplotlib.pyplot as plt
    from editfrontier.study.results.naming import row_styles

    figure, axes = plt.subplots()
    look = row_styles(inputs.table.rows)
    for line in inputs.grid(("brightness",)).lines:
        if line.row.variant in look:
            style = look[line.row.variant]
            axes.plot([line.cells[0].value], [0], style.marker, color=style.colour, label=line.row.label)
    axes.set_title(" / ".join(axes.get_legend_handles_labels()[1]))
    return figure

FIGURE = Figure("{name}", "Rays of light", "All that shines.", "A row of points.", draw)
"""
# What a study does with them, in a process that finds the packages from its start.
SCRIPT = """
import json, sys
from pathlib import Path
import pandas as pd
from editfrontier.base.parquet import write_parquet
from editfrontier.study.config.study import load_study
from editfrontier.study.figure import draw_figure
from editfrontier.study.report import build_report
from editfrontier.study.results.tables import write_table
from study_fixture import make_study

folder, config = Path(sys.argv[1]), Path(sys.argv[2])
resolved = load_study([config]).tables["table1"]
study = make_study(folder / "study", cases=2, hostile=False)
statistics = study.root / "statistics/portraits.parquet"
frame = pd.read_parquet(statistics)
glow = frame[frame["variant"] == "sdedit"].assign(variant="glow")
frame = pd.concat([frame, glow])
shine = frame[frame["metric"] == "id_sim"].assign(metric="brightness", value=3.0, ci_low=2.0, ci_high=4.0)
write_parquet(statistics, pd.concat([frame, shine]), {})
table = {**study.tables["table1"], "metrics": resolved["metrics"]}
table["rows"] = [*table["rows"], next(row for row in resolved["rows"] if row["editor"] == "glow")]
files = [study.root / f"tables/table1.{form}" for form in ("csv", "md", "tex")]
write_table(table, statistics, study.reported, *files)
draw_figure("rays", table, study.root, study.reported, study.root / "figures/rays")
config = {**study.config, "figures": {"rays": {"table": "table1"}}}
build_report(study.root, config, {"table1": table}, study.reported, study.root / "index.html")
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of results of a study that names an editor, a metric and a figure of packages."""
    folder = tmp_path_factory.mktemp("outside")
    packages = folder / "packages"
    put_package(packages, "package-of-glow", "glow", EDITOR)
    put_package(packages, "package-of-brightness", "brightness", METRIC, "editfrontier.metrics")
    put_package(packages, "package-of-rays", "rays", FIGURE, "editfrontier.figures")
    put_package(packages, "package-of-ruin", "ruin", "1 / 0", "editfrontier.metrics")
    change = {
        "extends": str(ROOT / "config/smoke.yaml"),
        "editors": {"glow": {}},
        "run": ["table1"],
        "analyse": [],
        "experiments": {"table1": {"rows": [{"editor": "sdedit"}, {"editor": "glow"}], "metrics": ["brightness"]}},
        "figures": {"rays": {"table": "table1"}},
    }
    (folder / "config.yaml").write_text(json.dumps(change))
    paths = [packages, ROOT / "src", ROOT / "tests/unit"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(folder / "config.yaml")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning: metric 'ruin' is left out. entry point 'ruin = " in done.stderr
    assert "package-of-ruin" in done.stderr
    return folder / "study"


def test_the_table_calls_them_as_they_call_themselves(study: Path) -> None:
    head, *lines = [line for line in (study / "tables/table1.md").read_text().splitlines() if line.startswith("|")]
    assert "Brightness of all" in head
    (row,) = [line for line in lines if "Glow &amp; shine" in line]
    assert "3.0" in row


def test_the_figure_from_outside_draws_the_editor_in_its_own_colour(study: Path) -> None:
    svg = (study / "figures/rays.svg").read_text().lower()
    assert "#123abc" in svg


def test_the_page_shows_all_three(study: Path) -> None:
    html = (study / "index.html").read_text()
    data: dict[str, Any] = page_data(html)
    (point,) = [point for point in data["planes"][0]["points"] if point["editor"] == "glow"]
    assert (point["label"], point["colour"], point["marker"], point["control"]) == (
        "Glow & shine",
        "#123ABC",
        "8",
        False,
    )
    assert "Brightness of all" in html
    assert "Rays of light" in html and "All that shines." in html


def test_a_broken_plug_in_is_named_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    put_package(tmp_path, "package-of-dust", "dusty", "1 / 0")
    put_package(tmp_path, "package-of-gold", "golden")
    registry = Registry("editor", Editor, "EDITOR", group="editfrontier.editors")
    assert list(registry.load_all()) == ["golden"]
    assert "warning: editor 'dusty' is left out." in (said := capsys.readouterr().err)
    assert "package 'package-of-dust'" in said and "ZeroDivisionError" in said
    assert {"dusty", "golden", "sdedit"} <= set(EDITORS.names())
    assert "package 'package-of-dust'" in registry.unknown("dusty") and "Did you mean" not in registry.unknown("dusty")
