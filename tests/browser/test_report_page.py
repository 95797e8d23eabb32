"""The report in a real browser: no errors, the ledger's filter, the menu of analyses, links into closed parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from editfrontier.study.findings import Finding, write_findings
from editfrontier.study.judging.ledger import COLUMNS
from editfrontier.study.judging.verdict import VERDICTS
from editfrontier.study.report import build_report
from experiments_fixture import add_experiments
from study_fixture import make_study

CONFIG: dict[str, Any] = {
    "analyse": ["drift", "sweep"],
    "analyses": {"drift": {"title": "Drift", "group": "Stability"}, "sweep": {"title": "Guidance", "group": "Sweeps"}},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    study = add_experiments(make_study(tmp_path_factory.mktemp("study") / "fixture", cases=4), hostile=False)
    for name in CONFIG["analyse"]:
        write_findings(study.root / "analyses" / f"{name}.parquet", [Finding(quantity="mean", value=1.0)], {})
    rows = []
    for number, verdict in enumerate([*VERDICTS, "supported"], start=1):
        about = dict.fromkeys(COLUMNS, "") | {"id": f"C{number:02d}", "claim": "A claim", "where": "1"}
        rows.append(about | {"verdict": verdict, "link": "table4_size"})
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(study.root / "claims.csv", index=False)
    build_report(study.root, {**study.config, **CONFIG}, study.tables, study.reported, study.root / "index.html")
    return (study.root / "index.html").as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened on a wide screen; errors of its script fail the test."""
    errors: list[str] = []
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(address)
    yield opened
    opened.wait_for_timeout(300)
    opened.close()
    assert errors == []


def shown(page: Any) -> int:
    return int(page.locator("#claims-table tbody tr:visible").count())


def test_claims_are_filtered_by_verdict(page: Any) -> None:
    assert shown(page) == 5
    page.click("button[data-verdict=good]")
    assert shown(page) == 2
    page.click("button[data-verdict=bad]")
    assert shown(page) == 3
    page.click("button[data-verdict=good]")
    page.click("button[data-verdict=bad]")  # none left, so all of them again
    assert shown(page) == 5


def test_menu_leads_to_an_analysis_and_closes(page: Any) -> None:
    page.click("details.menu summary")
    page.click('details.menu a[href="#analysis-sweep"]')
    assert page.evaluate("document.querySelector('details.menu').open") is False
    assert page.evaluate("location.hash") == "#analysis-sweep"


def test_evidence_in_a_closed_part_is_opened(page: Any) -> None:
    assert not page.locator("#table4_size").is_visible()
    page.click("#claim-C01 a")
    page.wait_for_function("document.getElementById('table4_size').closest('details').open")
    assert page.locator("#table4_size").is_visible()


def test_outlines_of_masks_are_drawn(page: Any) -> None:
    page.check("#f-mask")
    page.wait_for_selector("img.outline", state="attached")
    drawn = page.evaluate(
        "Promise.all([...document.querySelectorAll('img.outline')].slice(0, 3).map((i) => i.decode()))"
        ".then((done) => done.length)"
    )
    assert drawn >= 1


@pytest.mark.parametrize("width", [400, 1400])
def test_page_is_never_wider_than_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
