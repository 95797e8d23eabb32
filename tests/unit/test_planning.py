"""The plan of a run: seconds, bytes, and what is missing, on constructed studies with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from editfrontier.base.errors import UserError
from editfrontier.base.fetching.files import ExpectedFile
from editfrontier.data.cases import Case
from editfrontier.data.dataset import Dataset, Options, Request
from editfrontier.editing.editors.ready_made import VARIABLE
from editfrontier.models.registry import get_entry
from editfrontier.running.planning import costs
from editfrontier.running.planning import needs as wanted
from editfrontier.running.planning.graph import PlannedJob
from editfrontier.running.planning.page import plan_text, size_text
from editfrontier.study.config.study import Study, Variant, load_study

TASK = {"dataset": "portraits", "cases": 10, "repeats": 3, "shards": 4}


def study(**changes: Any) -> Study:
    config = {
        "results": "results/made",
        "compute": {"device": "cuda"},
        "tasks": {"faces": TASK},
        "reference": {"images": 100},
        "models": {},
        "evaluators": {},
    }
    return Study({**config, **changes}, {"faces": {}}, {}, {})


def job(rule: str, gpu: bool = True, benchmark: Path | None = None, **wildcards: str) -> PlannedJob:
    return PlannedJob(rule, wildcards, gpu, benchmark)


def edit_job(variant: str = "sdedit", **options: Any) -> PlannedJob:
    return job("edit", task="faces", variant=variant, shard="0", **options)


def test_a_shard_takes_its_start_and_its_cases() -> None:
    row = costs.read_gpu_seconds()["edit", "sdedit"]
    assert costs.cases_of_job(study(), edit_job()) == 8  # 30 cases in 4 shards
    assert costs.job_seconds(study(), edit_job("sdedit+strength=0.3")) == (row.start + 8 * row.case, row.measured)
    every = costs.read_gpu_seconds()["edit", ""]
    assert costs.job_seconds(study(), edit_job("their_editor")) == (every.start + 8 * every.case, every.measured)


def test_what_an_earlier_run_measured_counts_before_any_table(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.tsv"
    file.write_text("s\th:m:s\n12.5\t0:00:12\n")
    assert costs.job_seconds(study(), edit_job(benchmark=file)) == (12.5, True)


def test_every_editor_has_a_row_and_nothing_estimated_is_called_measured(root: Path) -> None:
    table = costs.read_gpu_seconds()
    editors = {name for rule, name in table if rule == "edit"}
    assert set(load_study([root / "config/micro.yaml"]).config["editors"]) <= editors
    assert {row.measured for row in table.values()} == {False}


@pytest.mark.parametrize(
    ("line", "words"),
    [("edit,x,1,,estimate", "expected rule, name, start"), ("edit,x,1,2,guess", "expected measured or estimate")],
)
def test_a_wrong_line_of_seconds_is_named(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "seconds.csv"
    file.write_text(f"rule,name,start,case,source\nedit,,1,2,estimate\n{line}\n")
    with pytest.raises(UserError, match=f"line 3: .*{words}"):
        costs.read_gpu_seconds(file)


def test_stages_add_up() -> None:
    jobs = [edit_job(), edit_job(), job("cases", gpu=False, task="faces"), job("table", gpu=False, table="t")]
    data, edits, report = costs.stages(study(), jobs)
    assert [data.name, edits.name, report.name] == ["data", "edits", "report"]
    assert (edits.jobs, edits.gpu_jobs, edits.cpu_seconds) == (2, 2, 0.0)
    assert edits.gpu_seconds == 2 * costs.job_seconds(study(), jobs[0])[0]
    assert edits.estimated == 1.0
    assert edits.disk == pytest.approx(2 * 8 * 64**2 * costs.BYTES_PER_PIXEL)
    assert (data.gpu_seconds, data.gpu_jobs) == (0.0, 0)
    text = plan_text(study(), "made.yaml", [data, edits, report], [])
    total = next(line for line in text.splitlines() if line.startswith("total")).split()
    assert total[1:3] == ["4", "2"]
    assert "100 % of the hours are estimated, not measured" in text


def test_on_processor_cores_seconds_are_measured_ones(root: Path) -> None:
    smoke = load_study([root / "config/smoke.yaml"])
    spent, known = costs.job_seconds(smoke, job("edit", gpu=False, task="portraits", variant="sdedit", shard="0"))
    assert known
    assert spent > 0


def test_nothing_to_do_is_said() -> None:
    assert "no job would run" in plan_text(study(), "made.yaml", [], [])


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (33.7e9, "34 GB"), (2.5e15, "2500 TB")]
)
def test_sizes_as_text(count: float, text: str) -> None:
    assert size_text(count) == text


def test_cases_with_masks_by_a_segmenter_belong_to_the_data_and_have_seconds_of_their_own() -> None:
    plain, segmented = job("cases", gpu=False, task="faces"), job("segmented_cases", task="faces")
    (stage,) = costs.stages(study(), [plain, segmented])
    assert (stage.name, stage.jobs, stage.gpu_jobs) == ("data", 2, 1)
    row = costs.read_gpu_seconds()["segmented_cases", ""]
    assert costs.job_seconds(study(), segmented)[0] == row.start + 30 * row.case
    assert costs.job_bytes(study(), segmented) == costs.job_bytes(study(), plain) > 0


# Needs ----------------------------------------------------------------------------------------------------------------


def with_model(entry: dict[str, Any], **changes: Any) -> Study:
    made = study(models={"theirs": entry}, **changes)
    variant = Variant("sdedit", "sdedit", "theirs", {}, "editfrontier.editing.editors.sdedit")
    return Study(made.config, {"faces": {"sdedit": variant}}, {}, {})


def test_weights_of_the_hub_are_looked_for_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    revision = "a" * 40
    made = with_model({"id": "someone/model", "revision": revision})
    (need,) = wanted.needs(made, [edit_job()])
    assert (need.kind, need.present) == ("weights", False)
    assert "editfrontier weights --pin" in need.fix
    snapshot = tmp_path / f"models--someone--model/snapshots/{revision}"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    assert wanted.needs(made, [edit_job()])[0].present
    blobs = tmp_path / "models--someone--model/blobs"
    blobs.mkdir()
    (blobs / "abc.incomplete").touch()
    assert not wanted.needs(made, [edit_job()])[0].present, "half a download was taken for whole"


def test_folders_of_ready_made_edits_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    variant = Variant("mine", "ready_made", None, {"folder": "service"}, "editfrontier.editing.editors.ready_made")
    made = Study(study().config, {"faces": {"mine": variant}}, {}, {})
    (need,) = wanted.needs(made, [edit_job("mine"), edit_job("mine")])
    assert (need.kind, need.name, need.present) == ("data", f"Ready-made edits, {tmp_path / 'service'}", False)
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "notes.txt").touch()
    assert not wanted.needs(made, [edit_job("mine")])[0].present
    (tmp_path / "service" / "cat.png").touch()
    assert wanted.needs(made, [edit_job("mine")])[0].present


def test_a_model_that_is_asked_nothing_is_not_missed() -> None:
    models = {"clip": {"registry": "clip_vit_b32"}, "vqa": {"registry": "blip_vqa_base"}}
    jobs = [job("sources", task="faces"), job("score", task="faces", variant="sdedit")]
    clip, vqa = (get_entry(entry["registry"]).title for entry in models.values())
    assert [need.name for need in wanted.needs(study(evaluators=models), jobs)] == [clip]
    asked = study(evaluators=models, statistics={"tasks": {"faces": {"controllability": ["vqa_choice"]}}})
    assert [need.name for need in wanted.needs(asked, jobs)] == [clip, vqa]


def test_a_package_that_reads_weights_is_missed_before_the_job_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(evaluators={"quality": {"registry": "musiq_koniq"}})
    job_that_scores = job("score", task="faces", variant="sdedit")
    for here in (True, False):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, here=here: object() if here else None)
        (need,) = [need for need in wanted.needs(made, [job_that_scores]) if need.kind == "package"]
        assert (need.name, need.present) == ("pyiqa", here)
        assert "make setup" in need.fix
    assert "package  pyiqa" in plan_text(made, "made.yaml", [costs.Stage("scores", 1, 1, 1.0, 0.0, 0.0, 0.0)], [need])


def test_a_segmenter_is_needed_where_its_masks_are_made() -> None:
    options = {"masks": "all", "sam": "sam_vit_huge"}
    made = study(tasks={"faces": {**TASK, "options": options}})
    (need,) = wanted.needs(made, [job("segmented_cases", task="faces")])
    assert (need.kind, need.name) == ("weights", get_entry("sam_vit_huge").title)
    assert wanted.needs(made, [job("cases", gpu=False, task="faces")]) == []


def test_gated_weights_need_a_token_until_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    token: list[str | None] = [None]
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token[0])
    entry = get_entry("flux_dev")
    assert entry.gated is True
    made = with_model({"registry": "flux_dev", "revision": "b" * 40})
    weights, need = wanted.needs(made, [edit_job()])
    assert weights.size == entry.download_gb * 1e9
    assert (need.kind, need.present) == ("token", False)
    assert entry.id in need.fix
    token[0] = "secret"
    found = wanted.needs(made, [edit_job()])
    assert found[1].present
    assert "secret" not in repr(found)
    snapshot = tmp_path / f"models--{entry.id.replace('/', '--')}/snapshots/{'b' * 40}"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    assert [need.kind for need in wanted.needs(made, [edit_job()])] == ["weights"]


def test_a_local_folder_and_jobs_that_load_nothing(tmp_path: Path) -> None:
    made = with_model({"path": str(tmp_path / "gone")})
    (need,) = wanted.needs(made, [edit_job()])
    assert not need.present
    assert str(tmp_path / "gone") in need.fix
    assert wanted.needs(made, [job("table", table="t")]) == []


def test_raw_data_that_are_missing_are_named_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(request: Request) -> list[Case]:
        return []

    files = (
        ExpectedFile(path="images/", what="images", archive="images.zip", size=5_000),
        ExpectedFile(path="masks/", what="masks", archive="images.zip", size=5_000),
        ExpectedFile(path="names.txt", what="names", size=100),
        ExpectedFile(path="extra.txt", what="more", size=7, optional=True),
    )
    theirs = Dataset(
        name="theirs",
        title="Their data",
        home="",
        licence="research only",
        terms="",
        files=files,
        by_hand="Fill in the form.",
        build=build,
        options=Options,
    )
    monkeypatch.setattr(wanted, "get_dataset", lambda name: theirs)
    made = study(tasks={"faces": {**TASK, "dataset": "theirs", "options": {"root": str(tmp_path)}}})
    (need,) = wanted.needs(made, [job("cases", gpu=False, task="faces")])
    assert (need.kind, need.name, need.present, need.size) == ("data", "Their data", False, 5_100)
    assert f"Put images.zip, names.txt into {tmp_path}. Fill in the form." in need.fix
    (tmp_path / "images.zip").touch()
    assert wanted.needs(made, [job("cases", gpu=False, task="faces")])[0].size == 100
    (tmp_path / "names.txt").touch()
    assert wanted.needs(made, [job("cases", gpu=False, task="faces")])[0].present
    text = plan_text(made, "made.yaml", costs.stages(made, []), [need])
    assert "no job would run" in text


def test_own_pictures_are_missing_while_their_folder_is_absent_or_empty(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    made = study(tasks={"faces": {**TASK, "dataset": "own_images", "options": {"root": str(folder)}}})

    def need() -> wanted.Need:
        (found,) = wanted.needs(made, [job("cases", gpu=False, task="faces")])
        return found

    assert not need().present
    assert f"The folder {folder} is empty or does not exist. Put pictures into" in need().fix
    folder.mkdir()
    (folder / ".DS_Store").touch()
    assert not need().present
    (folder / "cat.png").touch()
    assert need().present


def test_one_remedy_stands_once_in_the_plan() -> None:
    absent = [wanted.Need("weights", f"model {number}", False, 1.0, "", "Fetch them.") for number in range(3)]
    absent.append(wanted.Need("weights", "theirs", False, 1.0, "", "Fetch them.", "not pinned"))
    text = plan_text(study(), "made.yaml", [costs.Stage("edits", 1, 1, 1.0, 0.0, 0.0, 0.0)], absent)
    assert "weights  3 models are missing: model 0; model 1; model 2. Fetch them." in text
    assert "weights  theirs is not pinned. Fetch them." in text
    assert text.count("Fetch them.") == 2
