"""The smoke study with the shipped models, from nothing to the report, with one image that cannot be read."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from editfrontier.data.cases import read_cases
from editfrontier.study.config.study import load_study
from workspace import Workspace, make_workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """The finished study, and the id of the case whose image was spoilt after the data were made.

    Its size and its end are as before: what is cut short would be made again.
    """
    workspace = make_workspace(tmp_path_factory.mktemp("smoke"), stub=False)
    workspace.run("data", "--cores", "2")
    table = workspace.results / "data/portraits/cases.parquet"
    bad = read_cases(table)[3]
    image = table.parent / bad.image
    content = image.read_bytes()
    image.write_bytes(content[:200].ljust(len(content) - 12, b"\0") + content[-12:])
    (workspace.folder / "run.txt").write_text(workspace.run("--cores", "2").stdout)
    return workspace, bad.case_id


def test_every_result_is_there(study: tuple[Workspace, str]) -> None:
    results = study[0].results
    resolved = load_study([study[0].folder / study[0].config])
    tables = [f"tables/{table}.{form}" for table in resolved.tables for form in ("csv", "md", "tex")]
    assert "validation" in resolved.config["figures"]
    figures = [f"figures/{name}.{form}" for name in resolved.config["figures"] for form in ("pdf", "svg", "png")]
    for path in ["index.html", "report.zip", "config.yaml", "validation.csv", *tables, *figures]:
        assert (results / path).stat().st_size > 0, path


def test_tables_hold_every_variant_and_count_the_bad_case(study: tuple[Workspace, str]) -> None:
    workspace, _ = study
    resolved = load_study([workspace.folder / workspace.config])
    for name, entry in resolved.tables.items():
        frame = pd.read_csv(workspace.results / f"tables/{name}.csv")
        measured = frame[frame["value"].notna()]
        assert {row["variant"] for row in entry["rows"]} <= set(measured["variant"])
        own = measured[measured["variant"].isin([row["variant"] for row in entry["rows"]])]
        # The control that gives another case's source fails for the case that would get the bad image, too.
        own = own[own["variant"] != "random_image"]
        portraits = entry["task"] == "portraits"
        assert set(own["failed"]) == {1 if portraits else 0}
        if portraits:
            assert set(own.loc[own["metric"] == "id_sim", "n"]) == {7}


def test_bad_case_is_a_failed_row_with_its_reason(study: tuple[Workspace, str]) -> None:
    workspace, case_id = study
    folder = workspace.results / "edits/portraits/sdedit"
    record = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("shard-*.parquet"))])
    failed = record[record["status"] == "failed"]
    assert list(failed["case_id"]) == [case_id]
    assert f"{case_id}.png" in failed["reason"].iloc[0]
    assert len(record) == 8
    assert set(record.loc[record["status"] == "ok", "forwards"]) == {50}  # 25 steps with guidance


def test_the_end_of_the_run_tells_what_failed_and_why(study: tuple[Workspace, str]) -> None:
    workspace, case_id = study
    said = (workspace.folder / "run.txt").read_text().partition("Edits that failed, by the records in")[2].splitlines()
    place = said.index("  portraits, sdedit: 1 of 8 cases failed")
    assert f"{case_id}.png: is no readable image" in said[place + 1]


def test_controls_stand_where_they_must(study: tuple[Workspace, str]) -> None:
    frame = pd.read_csv(study[0].results / "tables/table1.csv")
    value = (
        frame[frame["variant"].notna()].drop_duplicates(["variant", "metric"]).set_index(["variant", "metric"])["value"]
    )
    for control in ("source", "true_edit"):
        assert value[control, "lpips_bg_masked"] == pytest.approx(0.0, abs=1e-6)
    assert value["source", "lpips_bg_spatial"] == pytest.approx(0.0, abs=1e-6)
    assert value["true_edit", "l2_true"] == 0.0
    assert value["true_edit", "success"] > value["source", "success"]
    assert value["source", "id_sim"] == pytest.approx(1.0, abs=1e-5)
    assert value["random_image", "id_sim"] < value["autoencoder_round_trip", "id_sim"]


def test_drags_are_judged_as_a_whole_and_in_parts(study: tuple[Workspace, str]) -> None:
    tables = study[0].results / "tables"
    whole = pd.read_csv(tables / "table4.csv").set_index(["variant", "metric"])["value"]
    assert whole["true_edit", "iou_target"] > 0.8 > whole["source", "iou_target"]
    assert whole["true_edit", "moved_towards"] == 1.0
    assert whole["source", "moved_towards"] == 0.0
    parts = pd.read_csv(tables / "table4_kind.csv")
    parts = parts[(parts["variant"] == "true_edit") & (parts["metric"] == "iou_target")]
    assert set(parts["subset"]) == {"relocation", "rotation", "deformation"}
    assert parts["value"].mean() == pytest.approx(whole["true_edit", "iou_target"])


def test_page_is_self_contained_and_names_the_failure(study: tuple[Workspace, str]) -> None:
    workspace, case_id = study
    page = (workspace.results / "index.html").read_text()
    assert case_id in page
    for outside in ('src="http', 'href="http://', "url(http", '<link rel="stylesheet"'):
        assert outside not in page


def test_nothing_is_left_to_do(study: tuple[Workspace, str]) -> None:
    assert "Nothing to be done" in study[0].run("--cores", "2").stdout


def test_jobs_that_are_repeated_by_hand_make_the_same(
    study: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of the study were forked from a warm process; those that start by themselves make the same, to the byte."""
    workspace, _ = study
    assert (workspace.results / "logs/warm.log").is_file() == (sys.platform == "linux")
    monkeypatch.setenv("EDITFRONTIER_WARM", "0")
    variants = ("sdedit", "mask_guided")
    scores = {name: workspace.results / f"scores/portraits/{name}.parquet" for name in variants}

    def made(name: str) -> tuple[dict[str, bytes], pd.DataFrame]:
        folder, frame = workspace.results / "edits/portraits" / name, pd.read_parquet(scores[name])
        images = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}
        return images, frame[~frame["metric"].str.contains("seconds")]

    before = {name: made(name) for name in variants}
    for image in [path for name in variants for path in (workspace.results / "edits/portraits" / name).rglob("*.png")]:
        image.unlink()
    targets = [str(file.relative_to(workspace.folder)) for file in scores.values()]
    workspace.run(*targets, "--forcerun", "edit", "score", "--cores", "2")
    for name, (images, frame) in before.items():
        assert len(images) == 7 and made(name)[0] == images
        pd.testing.assert_frame_equal(made(name)[1], frame)
