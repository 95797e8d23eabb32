"""The report's ledger of claims and its sections of analyses."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from editfrontier.study.analysis import get_analysis
from editfrontier.study.findings import Finding, write_findings
from editfrontier.study.judging.ledger import COLUMNS
from editfrontier.study.report import build_report
from editfrontier.study.report.analyses import groups, own_tables, sources
from experiments_fixture import add_experiments
from study_fixture import HOSTILE, Study, make_study, page_data

CONFIG: dict[str, Any] = {
    "analyse": ["drift", "sweep", "film_strip", "later"],
    "analyses": {
        "drift": {"title": "Drift", "caption": HOSTILE, "group": "Stability", "experiments": ["mine"]},
        "film_strip": {"title": "Film strip", "group": "Stability"},
        "sweep": {"title": "Guidance", "group": "Sweeps & more", "experiments": ["table3", "mine"]},
        "later": {"title": "Not yet", "analysis": "sweep"},
    },
}
FINDINGS = [
    Finding(quantity="mean", variant="sdedit", metric="success", x=2.0, value=0.5, low=0.4, high=0.6, n=8),
    Finding(quantity="slope", variant="unknown+w=3", level=HOSTILE, value=math.nan, note="no case has it"),
]


def claim(number: int, verdict: str, **values: object) -> dict[str, object]:
    about = dict.fromkeys(COLUMNS, "") | {"id": f"C{number:02d}", "claim": HOSTILE, "where": "5.1", "verdict": verdict}
    return about | {"reason": "because", "effect": -0.25, "ci_low": -0.3, "ci_high": -0.2, "n": 8} | values


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = add_experiments(make_study(tmp_path_factory.mktemp("study") / "fixture", cases=4))
    made.tables["mine"] = {**made.tables["table2"], "name": "mine", "title": "Mine <i>", "section": ""}
    folder = made.root / "analyses"
    for name in ("drift", "sweep", "film_strip"):
        about = {"sentences": [f"Found {HOSTILE} in {name}."]}
        write_findings(folder / f"{name}.parquet", FINDINGS, about)
        folder.joinpath(f"{name}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        folder.joinpath(f"{name}.png").write_bytes(b"\x89PNG")
    rows = [
        claim(1, "supported", link="table1", paper=-0.1, reported="SDEdit: FID 95.7; DragFlow: FID 50.1"),
        claim(2, "not supported", link="analysis-drift", p=0.002),
        claim(3, "inconclusive", link="analysis-nowhere"),
        claim(4, "not testable at this scale", effect="", ci_low="", ci_high="", n=0),
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(made.root / "claims.csv", index=False)
    return made


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    config = {**study.config, **CONFIG}
    build_report(study.root, config, study.tables, study.reported, study.root / "index.html")
    return (study.root / "index.html").read_text()


def section(html: str, name: str) -> str:
    return re.split(rf'<section id="{name}"[^>]*>', html)[1].split("</section>")[0]


def test_ledger_is_the_first_section_after_the_summary(html: str) -> None:
    assert re.findall(r'<section id="([a-z0-9-]+)"', html)[:3] == ["summary", "claims", "editors"]
    assert '<a href="#claims">Claims</a>' in html.split("</nav>")[0]
    summary = section(html, "summary")
    assert "Of 4 " in summary
    assert "1 is supported, 1 is not supported, 1 is inconclusive, 1 is not testable at this scale." in summary


def test_verdicts_are_words_and_not_colours_alone(html: str) -> None:
    rows = section(html, "claims").split("<tbody>")[1].split("</tr>")
    for place, (look, words) in enumerate(
        [("good", "supported"), ("bad", "not supported"), ("open", "inconclusive"), ("untested", "not testable")]
    ):
        assert f'<tr class="{look}" id="claim-C0{place + 1}">' in rows[place]
        assert re.search(rf'class="verdict {look}"><span aria-hidden="true">.</span> {words}', rows[place])
    buttons = re.findall(r'data-verdict="(\w+)" aria-pressed="true"><b>(\d)</b>', html)
    assert buttons == [("good", "1"), ("bad", "1"), ("open", "1"), ("untested", "1")]


def test_claims_carry_effect_interval_paper_and_link(html: str) -> None:
    rows = section(html, "claims").split("<tbody>")[1].split("</tr>")
    assert "−0.25" in rows[0]
    assert "(−0.30 to −0.20)" in rows[0]
    assert '<span class="value">−0.1</span><small>SDEdit: FID 95.7</small><small>DragFlow: FID 50.1</small>' in rows[0]
    assert '<a href="#table1">evidence</a>' in rows[0]
    assert '<a href="#analysis-drift">evidence</a>' in rows[1]
    assert "p = 0.002" in rows[1]
    assert "evidence" not in rows[2]  # the page has no such place
    assert "n = " not in rows[3]


def test_every_link_on_the_page_has_its_place(html: str) -> None:
    names = set(re.findall(r'\sid="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= names


def test_analyses_stand_under_their_groups_in_the_order_of_the_config(html: str) -> None:
    assert re.findall(r'<section id="(group-[a-z-]+)"', html) == [
        "group-stability",
        "group-sweeps-more",
        "group-more-analyses",
    ]
    assert re.findall(r'<h3 id="(analysis-\w+)"', section(html, "group-stability")) == [
        "analysis-drift",
        "analysis-film_strip",
    ]
    nav = html.split("</nav>")[0]
    assert '<a class="group" href="#group-sweeps-more">Sweeps &amp; more</a>' in nav
    assert "has not been run yet" in section(html, "group-more-analyses")


def test_analyses_show_sentences_figure_and_findings(html: str) -> None:
    text = section(html, "group-stability")
    assert "&lt;/script&gt;&lt;script&gt;alert" in text
    assert "<script>alert" not in html
    figures = re.findall(r'<img src="data:image/([a-z+]+);base64,([^"]+)" alt="[^"]+"', text)
    pixels = get_analysis("film_strip").pixels
    assert [kind for kind, _ in figures] == ["svg+xml", "png" if pixels else "svg+xml"]
    assert base64.b64decode(figures[0][1]).startswith(b"<svg")
    assert "Findings: 2 numbers" in text
    meaning = get_analysis("drift").quantities["mean"]
    assert f'data-tip="{meaning}"' in text
    assert '<td class="num">0.50</td><td class="num muted">0.40 to 0.60</td>' in text
    assert '<td class="reason">no case has it</td>' in text


def test_long_lists_of_sentences_are_folded(study: Study, tmp_path: Path) -> None:
    path = study.root / "analyses" / "drift.parquet"
    before = path.read_bytes()
    write_findings(path, FINDINGS, {"sentences": [f"Sentence {number}." for number in range(9)]})
    build_report(study.root, {**study.config, **CONFIG}, study.tables, study.reported, tmp_path / "index.html")
    path.write_bytes(before)
    text = (tmp_path / "index.html").read_text().split('id="analysis-drift"')[1].split("<h3")[0]
    first, folded = text.split("3 more sentences")
    assert "Sentence 5." in first
    assert "Sentence 6." not in first
    assert all(f"Sentence {number}." in folded for number in (6, 7, 8))


def test_findings_can_be_copied_as_they_are_on_disk(html: str, study: Study) -> None:
    copied = page_data(html)["sources"]
    assert copied["analysis-drift-csv"] == (study.root / "analyses" / "drift.csv").read_text()
    assert copied["claims-csv"] == (study.root / "claims.csv").read_text()
    assert 'data-copy="analysis-drift-csv"' in html


def test_tables_of_an_analysis_stand_with_the_first_that_reads_them(html: str) -> None:
    assert own_tables(CONFIG, ["table3"]) == {"mine": "drift"}
    assert '<table class="results show-interval show-paper" id="mine">' in section(html, "group-stability")
    assert html.count('id="mine"') == 1
    assert 'id="more-tables"' not in html


def test_a_page_without_claims_and_analyses_has_no_trace_of_them(study: Study, tmp_path: Path) -> None:
    assert groups(tmp_path, {}, {}) == []
    assert sources(tmp_path, {}) == {}
    (study.root / "claims.csv").rename(tmp_path / "claims.csv")
    try:
        build_report(study.root, {}, study.tables, study.reported, tmp_path / "index.html")
    finally:
        (tmp_path / "claims.csv").rename(study.root / "claims.csv")
    page = (tmp_path / "index.html").read_text()
    assert "#claims" not in page
    assert 'id="group-' not in page


def test_long_findings_are_cut_on_the_page_and_say_so(tmp_path: Path) -> None:
    rows = [Finding(quantity="mean", x=float(k), value=1.0) for k in range(900)]
    write_findings(tmp_path / "analyses" / "drift.parquet", rows, {})
    item = groups(tmp_path, {**CONFIG, "analyse": ["drift"]}, {})[0]["entries"][0]
    assert (len(item["rows"]), item["total"]) == (400, 900)
    assert [name for name, used in item["columns"].items() if used] == ["x"]


def test_a_drawing_of_very_many_marks_is_shown_as_its_image(tmp_path: Path) -> None:
    write_findings(tmp_path / "analyses" / "drift.parquet", FINDINGS, {})
    (tmp_path / "analyses" / "drift.svg").write_bytes(b"<svg" + b" " * 1_000_000)
    config = {**CONFIG, "analyse": ["drift"]}
    assert groups(tmp_path, config, {})[0]["entries"][0]["plot"].source.startswith("data:image/svg")
    (tmp_path / "analyses" / "drift.png").write_bytes(b"\x89PNG")
    assert groups(tmp_path, config, {})[0]["entries"][0]["plot"].source.startswith("data:image/png")


def test_figures_are_as_wide_as_they_were_drawn(tmp_path: Path) -> None:
    write_findings(tmp_path / "analyses" / "drift.parquet", FINDINGS, {})
    config = {**CONFIG, "analyse": ["drift"]}
    for content, width in (('width="288pt"', 600), ('width="900pt"', 1180), ("", 1180)):
        (tmp_path / "analyses" / "drift.svg").write_text(f'<svg height="9pt" {content}/>')
        assert groups(tmp_path, config, {})[0]["entries"][0]["plot"].width == width
    (tmp_path / "analyses" / "drift.svg").unlink()
    (tmp_path / "analyses" / "drift.png").write_bytes(b"\x89PNG" + bytes(12) + (1100).to_bytes(4, "big"))
    assert groups(tmp_path, config, {})[0]["entries"][0]["plot"].width == 750
