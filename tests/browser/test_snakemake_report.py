"""Snakemake's own report in a browser: no text of a config is code there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from workspace import Workspace, make_workspace

ATTACK = "document.title = 'ran'"
HOSTILE = f"""</script><script>{ATTACK}</script><img src=x onerror="{ATTACK}">

.. raw:: html

   <img src=x onerror="{ATTACK}"><script>{ATTACK}</script>
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with one table, whose title, caption, label and group are hostile, unpacked."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "study").mkdir()
    workspace = make_workspace(folder / "study", stub=True)
    config = {
        "extends": "smoke.yaml",
        "results": "results/hostile",
        "run": ["table1"],
        "analyse": [],
        "experiments": {
            "table1": {
                "title": HOSTILE,
                "caption": HOSTILE,
                "rows": [{"editor": name, "group": HOSTILE, "label": HOSTILE} for name in ("sdedit", "mask_guided")],
            }
        },
    }
    (workspace.folder / "config/hostile.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    Workspace(workspace.folder, "config/hostile.yaml").run("report", "--cores", "2")
    with zipfile.ZipFile(workspace.folder / "results/hostile/report.zip") as archive:
        archive.extractall(folder / "unpacked")
    (page,) = (folder / "unpacked").rglob("report.html")
    return page


@pytest.mark.slow
def test_texts_of_a_config_are_no_code_in_snakemakes_report(report: Path, browser: Any) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_timeout(500)
    assert page.title() != "ran"
    page.wait_for_function("document.body.innerText.includes('Tables')")
    results = json.loads(page.evaluate("JSON.stringify(results)"))
    table = next(entry for path, entry in results.items() if path.endswith("table1.csv"))
    for text in (json.dumps(results), page.evaluate("JSON.stringify(rules)")):
        assert "onerror" not in text or "<img" not in text
    # What the report shows of the table: its caption as HTML, its parameters as text.
    page.evaluate(
        "html => { const box = document.createElement('div'); box.innerHTML = html; document.body.append(box) }",
        table["caption"],
    )
    page.wait_for_timeout(300)
    assert page.title() != "ran"
    assert errors == []
    assert "table1" in table["caption"]
