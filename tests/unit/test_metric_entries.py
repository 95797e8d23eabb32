"""Entries of metrics: complete, as the docs say, and from packages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from editfrontier.base.errors import UserError
from editfrontier.scoring.evaluator import EVALUATORS
from editfrontier.scoring.metrics import METRICS, get_metric
from foreign_packages import put_package

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
SETS = {"fid", "kid"}


def test_the_docs_have_every_metric_with_its_direction() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\w+) \|", DOCS, re.MULTILINE)
    said = {name: direction for names, direction in rows for name in re.findall(r"`(\w+)`", names)}
    assert said == {name: metric.direction for name, metric in METRICS.items() if name not in SETS}


def test_an_entry_has_what_its_kind_of_metric_needs() -> None:
    for name, metric in METRICS.items():
        assert (metric.compute is None) == (metric.recorded or not metric.per_image), name
        assert not metric.needs or metric.needs in EVALUATORS, name
        assert metric.direction in ("higher", "lower", "none") and metric.label and metric.source, name
        assert not metric.percent or (metric.range == (0.0, 1.0) and metric.decimals is not None), name


def test_an_unknown_metric_gets_the_nearest_name_and_where_to_add_it() -> None:
    with pytest.raises(UserError, match=r"'id_sin'.*Did you mean 'id_sim'\? .*scoring/metrics"):
        get_metric("id_sin")


PROGRAM = """
import torch
from pathlib import Path
from editfrontier.data.cases import Case
from editfrontier.scoring.metrics import METRICS
from editfrontier.study.results.naming import format_value, decimals, metric_display
from scoring_fixture import scored
texts = dict.fromkeys(("source_caption", "target_caption", "instruction", "edit_type", "licence"), "x")
case = Case(case_id="a", task="t", image="a.png", cluster="a", **texts)
source = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
values, absent = scored([case], source, source + 51, {})
print(values["worst_pixel", "a"], absent["of_background", "a"], sep="|")
print(metric_display("worst_pixel").label, format_value("worst_pixel", 0.2, decimals("worst_pixel", [0.2])), sep="|")
print(list(METRICS)[-2:])
"""


def test_metrics_of_packages_are_computed_and_shown_and_a_broken_one_stops_nothing(tmp_path: Path) -> None:
    example = re.search(r"```python\n(from editfrontier.scoring.metrics.metric.*?)```", DOCS, re.DOTALL)
    assert example is not None
    whole = re.sub(r'\* batch.stacked\("background"\)', "", example[1]).replace('    inputs=("background",),\n', "")
    whole = whole.replace("METRIC = Metric(", "METRIC = Metric(\n    percent=True, decimals=1,")
    group = "editfrontier.metrics"
    put_package(tmp_path, "package-of-pixels", "worst_pixel", whole, group)
    put_package(tmp_path, "package-of-grounds", "of_background", example[1].replace("worst_pixel", "{name}"), group)
    put_package(tmp_path, "package-of-dust", "dusty", "1 / 0", group)
    put_package(tmp_path, "package-of-ours", "fid", example[1].replace("worst_pixel", "fid"), group)
    paths = [str(path) for path in (tmp_path, ROOT / "src", ROOT / "tests/unit")]
    run = f"import sys; sys.path[:0] = {paths}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0.2|the case has no mask", "Worst pixel|20.0", "['of_background', 'worst_pixel']"
    ]  # fmt: skip
    assert "warning: metric 'fid' is left out." in done.stderr and "'package-of-ours' have one of this" in done.stderr
    assert "warning: metric 'dusty' is left out." in done.stderr and "package-of-dust" in done.stderr
