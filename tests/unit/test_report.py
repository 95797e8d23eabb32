"""The report page: self-contained, safe against hostile text, complete about failures, tolerant of missing parts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from editfrontier.study.drawing.plotting import save_figure
from editfrontier.study.drawing.theme import figure_style
from editfrontier.study.report import build_report
from editfrontier.study.report.gallery_data import gallery, rounded
from editfrontier.study.report.page import duration
from editfrontier.study.report.study_data import control_checks, stages, tables_of
from editfrontier.study.report.webpage import embed_json
from editfrontier.study.results.gallery import read_task
from editfrontier.study.results.naming import parse_table, read_reported, read_statistics
from editfrontier.study.results.tables import build_grid, write_table
from study_fixture import HOSTILE, METRICS, Study, make_study, page_data


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make_study(tmp_path_factory.mktemp("study") / "fixture", cases=8)
    for name, table in made.tables.items():
        write_table(
            table,
            made.root / "statistics" / "portraits.parquet",
            made.reported,
            *(made.root / "tables" / f"{name}.{suffix}" for suffix in ("csv", "md", "tex")),
        )
    folder = made.root / "benchmarks" / "edit" / "portraits"
    folder.mkdir(parents=True)
    (folder / "shard-0.tsv").write_text("s\th:m:s\tmax_rss\n62.5\t0:01:02\t812.4\n")
    (folder / "shard-1.tsv").write_text("s\th:m:s\tmax_rss\n10.0\t0:00:10\t-\n")
    return made


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    out = study.root / "index.html"
    build_report(study.root, study.config, study.tables, study.reported, out, study.root / "benchmarks")
    return out.read_text()


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


def test_page_runs_only_its_own_script(html: str) -> None:
    page = parsed(html)
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/json", None]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_hostile_text_is_shown_and_never_markup(html: str) -> None:
    assert 'alert("x")' not in html.replace("\\u003c", "<").split('id="data"')[0]
    assert "<script>alert" not in html
    case = page_data(html)["galleries"][0]["cases"][0]
    assert case["instruction"] == HOSTILE
    assert "&lt;/script&gt;&lt;script&gt;alert" in html  # the reason of the failure


def test_page_needs_nothing_from_elsewhere(html: str) -> None:
    page = parsed(html)
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert "default-src 'none'" in html
    assert not re.search(r"url\((?!data:)", html)
    assert "@import" not in html


def test_page_carries_every_case_variant_and_score(html: str, study: Study) -> None:
    data = page_data(html)
    shown = data["galleries"][0]
    assert len(shown["cases"]) == shown["total"] == 8
    names = [variant["name"] for variant in shown["variants"]]
    assert set(names) == {row["variant"] for table in study.tables.values() for row in table["rows"]}
    assert len(names) == len(set(names))
    case, column = shown["cases"][2], names.index("mask_guided")
    assert case["tiles"][column] >= 0
    assert case["scores"][column][shown["metrics"].index("id_sim")] is not None
    assert case["tiles"][names.index("source")] == case["source"]
    assert case["tiles"][names.index("true_edit")] == case["truth"]
    assert {point["variant"] for point in data["planes"][0]["points"]} == set(names)


def test_failures_are_listed_with_their_reason_and_counted(html: str) -> None:
    data = page_data(html)["galleries"][0]
    index = [variant["name"] for variant in data["variants"]].index("sdedit")
    failed = [case for case in data["cases"] if str(index) in case["failures"]]
    assert len(failed) == 1
    assert failed[0]["tiles"][index] == -1
    assert "NaN in the latent at step 3" in failed[0]["failures"][str(index)]
    assert "NaN in the latent at step 3" in html.split('id="failures"')[1]
    assert "1 failed" in html
    assert "not run" in html.split("What was run")[1].split("</table>")[0]


def test_table_cells_carry_interval_count_and_paper(html: str) -> None:
    table = html.split('id="table1"')[1].split("</table>")[0]
    assert table.count("<tr") == 1 + 12
    assert re.search(
        r'data-tip="SDEdit · Success\n[^"]+95% interval[^"]+\n7 cases, 1 failed\n[^\n]+\nThe paper reports 70 %"', table
    )
    control = next(row for row in table.split("<tr") if "Source, unedited" in row)
    assert "rank1" not in control
    assert "rank2" not in control
    assert len(re.findall(r"<td data-value", table)) == 12 * len(METRICS)


def test_images_have_alternative_texts_and_controls_have_names(html: str) -> None:
    page = parsed(html)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert any(tag == "html" and attributes.get("lang") == "en" for tag, attributes in page.tags)


def test_page_is_the_same_for_the_same_results(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("a.html", "b.html"):
        build_report(study.root, study.config, study.tables, study.reported, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert "2023-11-14 22:13 UTC" in (tmp_path / "a.html").read_text()


def test_page_is_made_of_what_there_is(study: Study, tmp_path: Path) -> None:
    root = tmp_path / "partial"
    shutil.copytree(study.root, root)
    for folder in ("statistics", "tables", "scores", "benchmarks"):
        shutil.rmtree(root / folder)
    (root / "validation.csv").unlink()
    (root / "data" / "portraits" / "images").joinpath("portraits-00003-smile-add-source.png").write_bytes(b"broken")
    build_report(root, {}, study.tables, study.reported, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text()
    assert "have not been computed yet" in html
    assert "have not been validated" in html
    data = page_data(html)["galleries"][0]
    assert data["unreadable"] == 1
    assert len(data["cases"]) == 7


@pytest.mark.parametrize("name", ["frontier", "qualitative"])  # the page shows cases itself instead of the latter
def test_page_names_texts_that_a_figure_could_not_write(study: Study, tmp_path: Path, name: str) -> None:
    shutil.copytree(study.root, tmp_path / "study")
    (tmp_path / "study" / "figures").mkdir(exist_ok=True)
    stem = tmp_path / "study" / "figures" / name
    with figure_style():
        import matplotlib.pyplot as plt

        plt.figure(figsize=(2, 2)).suptitle("\U0010fffd<img src=x>")  # no font has letters for private use
        save_figure(plt.gcf(), stem)
    build_report(tmp_path / "study", study.config, study.tables, study.reported, tmp_path / "p.html")
    page = re.sub(r"<noscript>.*?</noscript>", "", (tmp_path / "p.html").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "Boxes stand for letters of “\U0010fffd&lt;img src=x&gt;”" in page
    stem.with_suffix(".png").write_bytes(b"no picture")
    build_report(tmp_path / "study", study.config, study.tables, study.reported, tmp_path / "p.html")
    assert "Boxes stand" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_page_shows_a_choice_by_rule_when_images_exceed_the_budget(study: Study) -> None:
    rows = tables_of({"table1": parse_table(study.tables["table1"])}, "portraits")
    results = read_task(study.root, "portraits", [row.variant for row in rows])
    whole = gallery(results, rows, ["sdedit"], 0)
    size = sum(len(case["strip"]) for case in whole["cases"])
    part = gallery(results, rows, ["sdedit"], 0, budget=size // 6)
    assert 0 < len(part["cases"]) < len(whole["cases"]) == part["total"]
    assert {case["id"] for case in part["cases"]} <= {case["id"] for case in whole["cases"]}


def test_json_in_the_page_cannot_end_its_element() -> None:
    text = embed_json({"a": "</script><!--&\u2028", "b": None})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028", "b": None}
    with pytest.raises(ValueError, match="Out of range"):
        embed_json(float("nan"))
    assert rounded(float("nan")) is None
    assert rounded(0.123456) == 0.1235


def test_controls_are_compared_with_the_editors(study: Study) -> None:
    grid = build_grid(
        study.tables["table1"],
        read_statistics(study.root / "statistics" / "portraits.parquet"),
        read_reported(study.reported),
    )
    found = {row["name"]: row for row in control_checks(grid)}
    assert found["lpips_bg_spatial"]["true_holds"] is True
    assert found["id_sim"]["random_holds"] is True
    assert found["fid"]["quality"] is True
    assert found["psnr_bg"]["random_holds"] is False  # the fixture's random image has a perfect background


def test_stages_sum_jobs_and_take_the_largest_memory(study: Study) -> None:
    assert stages(study.root / "benchmarks") == [{"stage": "edit", "jobs": 2, "seconds": 72.5, "memory": 812.4}]
    assert stages(None) == []
    assert [duration(s) for s in (0.44, 42, 600, 9000)] == ["0.4 s", "42 s", "10 min", "2.5 h"]
