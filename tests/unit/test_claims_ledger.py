"""The ledger: the list of claims, its checks, the table, and how the page shows it."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from claims_fixture import CLAIMS, REPORTED, ROOT, World, claims, micro
from editfrontier.base.errors import UserError
from editfrontier.statistics.estimate import Estimate
from editfrontier.study.claim import TESTS
from editfrontier.study.config.study import read_yaml
from editfrontier.study.judging.ledger import COLUMNS, judge, read_claims, write_ledger
from editfrontier.study.judging.verdict import VERDICTS
from editfrontier.study.report.ledger import decimals, ledger, signed

EVERY = [f"C{number:02d}" for number in range(1, 35)]

ONE = """
C02:
  claim: A sentence.
  where: Section 1
  test: editing.better_than
  params: { table: table1, editor: drag_flow, others: [sdedit], metrics: [id_sim], margin: 0 }
  reported: [table1/drag_flow/default/id_sim]
  link: table1
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- the list --------------------------------------------------------------------------------------------------------


def test_every_claim_of_the_paper_has_a_test_and_every_test_a_claim() -> None:
    assert list(claims()) == EVERY
    assert {claim.test.name for claim in claims().values()} == set(TESTS)


def test_every_test_says_what_it_decides() -> None:
    for name, test in TESTS.load_all().items():
        assert test.run.__doc__, name


def test_links_are_tables_and_analyses_of_the_study() -> None:
    content = read_yaml(ROOT / "config" / "micro.yaml")
    anchors = {*micro().tables, *(f"analysis-{name}" for name in content.get("analyses", {}))}
    assert {claim.link for claim in claims().values()} <= anchors


def test_analyses_of_the_list_exist_in_the_study() -> None:
    content = read_yaml(ROOT / "config" / "micro.yaml")
    named = {claim.params["analysis"] for claim in claims().values() if "analysis" in claim.params}
    assert named <= set(content.get("analyses", {}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("where:", "were:", "key 'C02': unknown key 'were'. Did you mean 'where'?"),
        ("  where: Section 1\n", "", "key 'C02': 'where' is missing. Add it: where the paper makes it."),
        ("C02:", "claim2:", "'claim2' is no number of a claim, expected one like C01"),
        (
            "better_than",
            "better_then",
            "key 'C02.test': test 'editing.better_then': there is no such test. Did you mean",
        ),
        ("margin", "margins", "key 'C02.params.margins': unknown to editing.better_than. Did you mean 'margin'?"),
        (", margin: 0", "", "key 'C02.params.margin': missing, editing.better_than needs it"),
        ("link: table1", "link: [table1]", "key 'C02.link': ['table1'], expected: Where the page"),
        ("default/id_sim", "id_sim", "key 'C02.reported.0'"),
    ],
)
def test_wrong_lists_are_refused_with_the_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "claims.yaml", ONE.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)):
        read_claims(path)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_claims(path)


def test_reported_values_must_exist(tmp_path: Path) -> None:
    path = written(tmp_path / "claims.yaml", ONE.replace("default/id_sim", "default/id_sims"))
    world = World(tmp_path)
    with pytest.raises(UserError, match=r"claim C02: there is no reported value .* Did you mean"):
        judge(read_claims(path), tmp_path, world.study, REPORTED)


# --- the table -------------------------------------------------------------------------------------------------------


def test_ledger_has_every_claim_with_its_verdict(tmp_path: Path) -> None:
    world = World(tmp_path, 0.001)
    values = dict.fromkeys(("instruct_pix2pix", "tf_icon", "ultraedit", "sdedit", "mask_guided"), 0.8)
    world.set("table1", "id_sim", {**values, "drag_flow": 0.98})
    world.evidence()
    counts = write_ledger(CLAIMS, tmp_path, world.study, REPORTED, tmp_path / "claims.csv")
    frame = pd.read_csv(tmp_path / "claims.csv").set_index("id")
    assert list(frame.index) == EVERY
    assert (frame.reset_index().columns == list(COLUMNS)).all()
    assert counts == {"supported": 1, "not testable at this scale": 33}
    own = frame.loc["C02"]
    assert (own["verdict"], own["n"], own["unit"]) == ("supported", 40, pytest.approx(math.nan, nan_ok=True))
    assert own["effect"] == pytest.approx(0.18)
    assert own["reported"] == "DragFlow: ID 0.98; InstructPix2Pix: ID 0.92; UltraEdit: ID 0.89"
    assert frame.loc["C11", "reported"] == "two attributes: both retained 52 %"
    assert frame.loc["C20", "reported"] == "Mask-guided, best range: w 5-7.5"
    assert not frame["reason"].isna().any()


def test_a_study_without_results_has_a_ledger_that_says_so(tmp_path: Path) -> None:
    bare = replace(micro(), tables={}, analyses={})
    frame = judge(list(claims().values()), tmp_path, bare, REPORTED)
    assert set(frame["verdict"]) == {"not testable at this scale"}
    assert all("was not run" in reason for reason in frame["reason"])


# --- the page --------------------------------------------------------------------------------------------------------


def entry(**values: object) -> dict[str, object]:
    about = dict.fromkeys(COLUMNS, "") | {"id": "C01", "claim": "A <b>claim</b>", "where": "1", "verdict": "supported"}
    return about | {"effect": 0.1234, "ci_low": 0.1, "ci_high": 0.15, "n": 40, "link": "table1"} | values


def shown(tmp_path: Path, *rows: dict[str, object]) -> dict[str, list[dict[str, object]]]:
    with (tmp_path / "claims.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return ledger(tmp_path, {"table1"})


def test_page_counts_verdicts_in_their_order(tmp_path: Path) -> None:
    found = shown(tmp_path, *(entry(verdict=VERDICTS[i]) for i in (2, 0, 1, 0)))
    assert [(c["verdict"], c["count"], c["look"]) for c in found["counts"]] == [
        ("supported", 2, "good"),
        ("not supported", 1, "bad"),
        ("inconclusive", 1, "open"),
    ]
    assert ledger(tmp_path / "nothing", set()) == {"rows": [], "counts": []}


def test_page_shows_effects_with_the_decimals_that_they_deserve(tmp_path: Path) -> None:
    row = shown(tmp_path, entry(paper=-0.14, p=0.0001, reported="a; b"))["rows"][0]
    assert (row["effect"], row["interval"], row["paper"]) == ("0.123", "0.100 to 0.150", "−0.14")
    assert (row["p"], row["reported"], row["link"]) == ("p < 0.001", ["a", "b"], "table1")
    bare = shown(tmp_path, entry(effect="", ci_low="", ci_high="", link="elsewhere"))["rows"][0]
    assert (bare["effect"], bare["interval"], bare["p"], bare["link"]) == ("", "", "", "")


def test_decimals_follow_the_width_of_the_interval() -> None:
    assert decimals(Estimate(0.5, 0.43, 0.57)) == 2
    assert decimals(Estimate(50.0, 43.0, 57.0)) == 0
    assert decimals(Estimate(-0.0044, -0.1192, 0.0001)) == 4  # not "0.00 (-0.12 to 0.00)"
    assert decimals(Estimate(0.5, 0.43, 0.5 + 1e-9)) == 6  # three more than those of the width, at most
    assert decimals(Estimate(0.5, 0.43, 0.5)) == 3
    assert decimals(Estimate(0.00012, 0.0001, 0.00014)) == 6
    assert decimals(Estimate(0.75, math.nan, math.nan)) == 3
    assert decimals(Estimate(math.nan, math.nan, math.nan)) == 2
    assert [signed(value, 2) for value in (-0.001, -1.5, math.nan, math.inf)] == ["0.00", "−1.50", "", "∞"]
