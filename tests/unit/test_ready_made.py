"""Edits that were made elsewhere, scored like those of an editor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editfrontier.base.errors import UserError
from editfrontier.base.fingerprints import variant_name
from editfrontier.data.cases import Case, read_cases, read_image
from editfrontier.data.framing import frame_of
from editfrontier.data.reading.build import build_task
from editfrontier.editing import shard
from editfrontier.editing.editor import get_editor, make_params
from editfrontier.editing.editors.ready_made import VARIABLE
from editfrontier.editing.origin import origins
from editfrontier.editing.records import CaseRecord
from editfrontier.study.config.study import load_study, merge, read_yaml
from tiny_pipelines import SIZE, tiny_cases


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "made"))
    folder = tmp_path / "made" / "service-1"
    folder.mkdir(parents=True)
    return folder


def save(path: Path, side: int = SIZE, grey: int = 7, width: int | None = None) -> None:
    """Write an edit of one grey; its time of change is that grey, as two writes may fall into one tick of the clock."""
    Image.fromarray(np.full((side, width or side, 3), grey, np.uint8)).save(path, quality=100)
    os.utime(path, (grey, grey))


def run(cases: Path, out: Path, **params: Any) -> dict[str, CaseRecord]:
    progress = params.pop("progress", lambda line: None)
    values = {"folder": "service-1", **params}
    spec = {"editor": "ready_made", "variant": variant_name("ready_made", values), "params": values, "seed": 1}
    rows = shard.run_shard(cases, 0, 1, spec, out / "shard-0.parquet", out / "images", batch_size=4, progress=progress)
    return {row.case_id: row for row in rows}


def test_files_become_edits_and_what_is_wrong_fails_with_its_reason(tmp_path: Path, place: Path) -> None:
    cases = tiny_cases(tmp_path / "data", 8)
    save(place / "case-0.png", grey=10)
    save(place / "case-1.jpg", grey=20)
    save(place / "case-2.png", side=2 * SIZE)
    save(place / "case-3.png", width=2 * SIZE)
    (place / "case-4.png").write_bytes((place / "case-0.png").read_bytes()[:60])
    save(place / "case-5.png")
    save(place / "case-5.webp")
    Image.fromarray(np.full((SIZE, SIZE, 4), 30, np.uint8)).save(place / "case-6.png")
    rows = run(cases, tmp_path / "out")
    assert [row.status for row in rows.values()] == ["ok", "ok", *["failed"] * 4, "ok", "failed"]
    for case_id, grey in {"case-0": 10, "case-1": 20, "case-6": 229}.items():  # the last is laid on white
        assert np.abs(read_image(tmp_path / "out" / rows[case_id].image).astype(int) - grey).max() <= 1
    reasons = {case_id: row.reason for case_id, row in rows.items() if row.reason}
    assert "case-2.png: is 64x64 but its source is 32x32 pixels. Resize it" in reasons["case-2"]
    assert "case-3.png: is 64x32 but its source is 32x32 pixels, which is another shape. Crop" in reasons["case-3"]
    assert "case-4.png: is no readable image" in reasons["case-4"]
    assert "case-5.png and case-5.webp: two ready-made edits of one case" in reasons["case-5"]
    assert "case-7.png: there is no such ready-made edit" in reasons["case-7"]


def test_edits_are_found_as_cameras_name_them_and_turned_as_they_say(tmp_path: Path, place: Path) -> None:
    cases = tiny_cases(tmp_path / "data", 1)
    pixels = np.full((SIZE, SIZE, 3), 200, np.uint8)
    pixels[: SIZE // 2] = 20
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(place / "case-0.JPG", exif=exif, quality=100)
    (row,) = run(cases, tmp_path / "out").values()
    made = read_image(tmp_path / "out" / row.image).astype(int)
    assert np.abs(made - pixels[::-1]).max() <= 3


def test_edits_are_resized_only_if_told(tmp_path: Path, place: Path) -> None:
    cases = tiny_cases(tmp_path / "data", 2)
    save(place / "case-0.png", side=3 * SIZE, grey=40)
    save(place / "case-1.png", side=SIZE, grey=50)
    assert [row.status for row in run(cases, tmp_path / "plain").values()] == ["failed", "ok"]
    rows = run(cases, tmp_path / "resized", resize=True)
    made = [read_image(tmp_path / "resized" / row.image) for row in rows.values()]
    assert [(image.shape, int(image.mean())) for image in made] == [((SIZE, SIZE, 3), 40), ((SIZE, SIZE, 3), 50)]
    save(place / "case-0.png", side=SIZE, width=2 * SIZE)
    assert "another shape" in run(cases, tmp_path / "again", resize=True)["case-0"].reason


def test_a_folder_that_is_missing_stops_the_job(tmp_path: Path, place: Path) -> None:
    place.rmdir()
    with pytest.raises(UserError, match="service-1: no such folder of ready-made edits"):
        run(tiny_cases(tmp_path / "data", 2), tmp_path / "out")


def test_the_folder_is_a_name_and_no_path() -> None:
    editor = get_editor("ready_made")
    for folder in ("a/b", "", "..", "/tmp"):
        with pytest.raises(UserError, match=rf"hyperparameter 'folder': {folder!r}.* {VARIABLE}"):
            make_params(editor, {"folder": folder})


def own_cases(folder: Path, task: str = "own") -> Path:
    """Make cases of two pictures of 60x40 pixels, with masks far to the left and far to the right; one has an id."""
    raw = folder / "raw"
    (raw / "photos").mkdir(parents=True)
    ramp = np.linspace(0, 255, 60, dtype=np.uint8)[None, :, None].repeat(40, 0).repeat(3, 2)
    for name, left in {"cat": 0, "dog": 50}.items():
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, left : left + 10] = 255
        Image.fromarray(ramp if name == "cat" else ramp[:, ::-1]).save(raw / "photos" / f"{name}.png")
        Image.fromarray(mask).save(raw / f"{name}-mask.png")
    rows = ["id,image,mask,instruction", "mine,photos/cat.png,cat-mask.png,edit", ",photos/dog.png,dog-mask.png,edit"]
    (raw / "images.csv").write_text("\n".join(rows) + "\n")
    build_task(task, 2, 1, folder / "data", dataset="own_images", root=str(raw), size=SIZE)
    return folder / "data" / "cases.parquet"


@pytest.mark.parametrize(
    "names", [("own-mine", "own-00002-dog"), ("mine", "00002-dog"), ("cat", "dog"), ("mine", "dog")]
)
def test_files_are_found_by_what_their_owner_calls_them(tmp_path: Path, place: Path, names: tuple[str, str]) -> None:
    cases = own_cases(tmp_path)
    for name, grey in zip(names, (10, 20), strict=True):
        save(place / f"{name}.png", grey=grey)
    rows = run(cases, tmp_path / "out")
    assert [row.reason for row in rows.values()] == ["", ""]
    assert [int(read_image(tmp_path / "out" / row.image).mean()) for row in rows.values()] == [10, 20]


def test_two_names_of_one_case_are_two_edits(tmp_path: Path, place: Path) -> None:
    cases = own_cases(tmp_path)
    for name in ("mine", "own-mine", "dog"):
        save(place / f"{name}.png")
    rows = run(cases, tmp_path / "out")
    assert "two ready-made edits of one case" in rows["own-mine"].reason and rows["own-00002-dog"].status == "ok"


def test_the_name_of_a_picture_counts_only_where_one_case_has_it() -> None:
    frame = frame_of((40, 60), SIZE, "crop")
    base = {"task": "own", "image": "", "source_caption": "", "target_caption": "", "instruction": "", "edit_type": ""}
    files = {
        "own-1": "a/cat.png",
        "own-2": "b/cat.jpg",
        "own-3": "dog.png",
        "own-dog": "bird.png",
        "own-5": "b/u\u0308.png",
    }
    cases = [
        Case(case_id=name, cluster=name, licence="", frame=frame.text(file), **base) for name, file in files.items()
    ]
    found = {name: origin.names for name, origin in origins(cases).items()}
    assert found == {
        "own-1": ("own-1", "1"),
        "own-2": ("own-2", "2"),
        "own-3": ("own-3", "3"),
        "own-dog": ("own-dog", "dog", "bird"),
        "own-5": ("own-5", "5", "u\u0308"),
    }
    assert {origin.frame for origin in origins(cases).values()} == {frame}


def test_edits_of_the_whole_picture_are_cropped_as_their_source(tmp_path: Path, place: Path) -> None:
    """The picture itself, given as an edit, is the source to the last byte; twice as large it shows the same part."""
    cases = own_cases(tmp_path)
    for name in ("cat", "dog"):
        picture = Image.open(tmp_path / "raw" / "photos" / f"{name}.png")
        picture.save(place / f"{name}.png")
        (place.parent / "large").mkdir(exist_ok=True)
        picture.resize((120, 80), Image.Resampling.BICUBIC).save(place.parent / "large" / f"{name}.png")
    sources = {case.case_id: read_image(cases.parent / case.image) for case in read_cases(cases)}
    assert abs(int(sources["own-mine"].mean()) - int(sources["own-00002-dog"].mean())) < 3  # both masks are dark
    rows = run(cases, tmp_path / "out")
    for name, row in rows.items():
        assert np.array_equal(read_image(tmp_path / "out" / row.image), sources[name])
    refused = run(cases, tmp_path / "refused", folder="large")
    assert "is 120x80 but its source is 32x32 pixels, cropped from 60x40. Resize" in refused["own-mine"].reason
    rows = run(cases, tmp_path / "large", folder="large", resize=True)
    for name, row in rows.items():
        assert np.abs(read_image(tmp_path / "large" / row.image).astype(int) - sources[name]).max() <= 4
    save(place / "cat.png", side=40, width=90)
    assert "60x40, which is another shape" in run(cases, tmp_path / "wide", resize=True)["own-mine"].reason


def test_what_has_no_file_is_said_at_the_start(tmp_path: Path, place: Path) -> None:
    cases = tiny_cases(tmp_path / "data", 3)
    save(place / "case-1.png")
    save(place / "case1.png")
    save(place / "other.jfif")
    said: list[str] = []
    run(cases, tmp_path / "out", progress=said.append)
    assert "2 of 3 cases have no edit in" in said[0] and said[0].endswith("service-1: case-0, case-2")
    assert "2 files in" in said[1] and said[1].endswith("belong to no case: case1.png, other.jfif")


def test_names_that_fit_no_case_stop_the_job_at_once(tmp_path: Path, place: Path) -> None:
    cases = own_cases(tmp_path)
    with pytest.raises(UserError, match="holds no picture, expected own-mine.png or mine.png or cat.png for the first"):
        run(cases, tmp_path / "out")
    for number in range(7):
        save(place / f"result-{number}.png")
    with pytest.raises(UserError, match="no file in it is called like one of the 2 cases; it holds .* and 2 more"):
        run(cases, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_changed_files_make_another_spec(tmp_path: Path, place: Path) -> None:
    root = Path(__file__).parents[2]
    row = {"editor": "ready_made", "params": {"folder": "service-1"}, "label": "A closed service"}
    config = merge(read_yaml(root / "config/micro.yaml"), {"editors": {"ready_made": {}}})
    config["experiments"]["table1"]["rows"].append(row)
    import yaml

    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config))
    study = load_study([file])
    (name,) = (name for name in study.variants["portraits"] if name.startswith("ready_made"))
    assert name == "ready_made+folder=service-1"

    def spec() -> dict[str, Any]:
        return study.edit_spec("portraits", name)

    empty = spec()
    save(place / "case-0.png", grey=1)
    first = spec()
    assert first == spec() and first["code"] != empty["code"]
    save(place / "case-0.png", grey=2)
    second = spec()
    assert second["code"] != first["code"] and second["code"].partition("+")[0] == first["code"].partition("+")[0]
    (place / "notes.txt").write_text("no edit")
    assert spec() == second
    (place / "case-0.png").rename(place / "case-1.png")
    assert spec()["code"] != second["code"]


def test_changed_files_are_read_anew_by_a_run_that_goes_on(tmp_path: Path, place: Path) -> None:
    """Images of an earlier run are taken over where the spec is the same, and here it is not."""
    cases = tiny_cases(tmp_path / "data", 1)
    editor = get_editor("ready_made")
    assert editor.fingerprint is not None
    greys = []
    for grey in (60, 90):
        save(place / "case-0.png", grey=grey)
        params = {"folder": "service-1"}
        code = editor.fingerprint(make_params(editor, params))
        spec = {"editor": "ready_made", "variant": "ready_made", "params": params, "code": code}
        (row,) = shard.run_shard(
            cases, 0, 1, spec, tmp_path / "shard-0.parquet", tmp_path / "images", progress=lambda line: None
        )
        greys.append(int(read_image(tmp_path / row.image).mean()))
    assert greys == [60, 90]
