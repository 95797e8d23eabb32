"""The shard runner: same images in any batch and shard, resuming, bad cases, records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editfrontier import editors
from editfrontier.base.errors import EditorError, UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.data.cases import Case, read_cases, read_image, write_cases, write_png
from editfrontier.data.pixels import to_arrays, to_images
from editfrontier.editing import inputs, shard
from editfrontier.editing.records import CaseRecord
from tiny_pipelines import SIZE, tiny_cases, tiny_pipeline

QUICK = {"num_inference_steps": 4}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return tiny_cases(tmp_path / "data")


def run(cases: Path, out: Path, editor: str = "mask_guided", **options: Any) -> dict[str, CaseRecord]:
    model = options.pop("model", None)
    spec = {
        "editor": editor,
        "variant": editor,
        "params": options.pop("params", {}),
        "seed": 1,
        **options.pop("spec", {}),
    }
    arguments: dict[str, Any] = {"shard": 0, "shards": 1, "batch_size": 4, "progress": lambda line: None, **options}
    record = out / f"shard-{arguments['shard']}.parquet"
    rows = shard.run_shard(cases, spec=spec, record=record, images_dir=out / "images", model=model, **arguments)
    return {row.case_id: row for row in rows}


def change_cases(path: Path, **changes: dict[str, Any]) -> None:
    """Change fields of cases; keyword = case id with underscores."""
    made = [replace(case, **changes.get(case.case_id.replace("-", "_"), {})) for case in read_cases(path)]
    write_cases(path, made)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a function known as the editor "theirs"."""

    def put(function: Any, **settings: Any) -> None:
        made = editors.Editor("theirs", editors.NoParams, function, **settings)
        monkeypatch.setattr(shard, "get_editor", lambda name: made)

    return put


@pytest.mark.parametrize("editor", ["mask_guided", "sdedit"])
def test_a_case_has_the_same_bytes_in_any_batch_and_shard(cases: Path, tmp_path: Path, model: Any, editor: str) -> None:
    whole = run(cases, tmp_path / "one", editor, params=QUICK, model=model)
    assert {row.status for row in whole.values()} == {"ok"}
    split: dict[str, CaseRecord] = {}
    for index in range(3):  # shards of 2, 2 and 1 cases in batches of 4: other places, other neighbours, filled up
        split |= run(cases, tmp_path / "three", editor, params=QUICK, model=model, shard=index, shards=3)
    assert {name: row.sha256 for name, row in split.items()} == {name: row.sha256 for name, row in whole.items()}
    assert len({row.sha256 for row in whole.values()}) == 5


def test_another_batch_size_gives_the_same_image(cases: Path, tmp_path: Path, model: Any) -> None:
    made = [run(cases, tmp_path / str(size), params=QUICK, model=model, batch_size=size) for size in (1, 3)]
    for name in made[0]:
        a, b = (read_image(tmp_path / str(size) / rows[name].image) for size, rows in zip((1, 3), made, strict=True))
        assert np.abs(a.astype(int) - b).max() <= 1


def test_the_record_holds_what_happened_and_what_made_it(cases: Path, tmp_path: Path, model: Any) -> None:
    rows = run(cases, tmp_path, params=QUICK, model=model)
    frame, about = read_parquet(tmp_path / "shard-0.parquet", "")
    columns = ["case_id", "status", "reason", "image", "sha256", "seconds", "forwards", "seed", "measures"]
    assert list(frame.columns) == columns
    assert frame.case_id.tolist() == [f"case-{i}" for i in range(5)]
    for row in frame.itertuples():
        content = (tmp_path / row.image).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256 == rows[row.case_id].sha256
        assert row.forwards == 2 * 3
        assert row.seconds > 0
    assert about["spec"]["editor"] == "mask_guided"
    assert about["params"]["num_inference_steps"] == 4
    assert about["params"]["strength"] == 0.75
    assert {"torch", "diffusers"} <= set(about["versions"])
    assert about["device"]
    assert str(tmp_path) not in json.dumps(about)


def test_controls_are_exact(cases: Path, tmp_path: Path) -> None:
    folder = cases.parent
    for name, expected in {"source": "image", "true_edit": "true"}.items():
        rows = run(cases, tmp_path / name, name)
        for i in range(5):
            made = read_image(tmp_path / name / rows[f"case-{i}"].image)
            assert np.array_equal(made, read_image(folder / f"{expected}-{i}.png"))
    others = run(cases, tmp_path / "other", "random_image")
    sources = [read_image(folder / f"image-{i}.png").tobytes() for i in range(5)]
    for i in range(5):
        assert sources.index(read_image(tmp_path / "other" / others[f"case-{i}"].image).tobytes()) != i


def test_bad_cases_fail_with_their_reason_and_the_others_do_not(cases: Path, tmp_path: Path, model: Any) -> None:
    good = run(cases, tmp_path / "good", params=QUICK, model=model)
    folder = cases.parent
    (folder / "image-0.png").write_bytes((folder / "image-0.png").read_bytes()[:200])
    write_png(folder / "mask-1.png", np.zeros((SIZE, SIZE), dtype=bool))
    write_png(folder / "mask-2.png", np.ones((SIZE, SIZE * 2), dtype=bool))
    change_cases(cases, case_3={"target_caption": "a very long caption"})
    rows = run(cases, tmp_path / "bad", params=QUICK, model=model)
    assert [rows[f"case-{i}"].status for i in range(5)] == ["failed"] * 4 + ["ok"]
    for i, words in enumerate(
        ["image-0.png: is no readable image", "mask is empty", "the mask is 64x32", "case-3, target_caption: 18 tokens"]
    ):
        assert words in rows[f"case-{i}"].reason
    assert rows["case-4"].sha256 == good["case-4"].sha256
    frame, _ = read_parquet(tmp_path / "bad" / "shard-0.parquet", "")
    assert (frame.status == "failed").sum() == 4


@pytest.mark.parametrize(
    ("changes", "editor", "words"),
    [
        ({"mask": ""}, "mask_guided", "has no mask, which the editor needs"),
        ({"true_edit": ""}, "true_edit", "has no true_edit"),
        ({"target_caption": " "}, "sdedit", "has no target_caption"),
        ({"image": "gone.png"}, "source", "gone.png: no such image"),
    ],
)
def test_cases_that_lack_something(
    cases: Path, tmp_path: Path, model: Any, changes: dict[str, Any], editor: str, words: str
) -> None:
    change_cases(cases, case_2=changes)
    rows = run(cases, tmp_path, editor, params=QUICK if editor in ("mask_guided", "sdedit") else {}, model=model)
    assert words in rows["case-2"].reason
    assert sum(row.status == "ok" for row in rows.values()) == 4


def test_images_of_another_size_get_their_own_batch(cases: Path, tmp_path: Path, model: Any) -> None:
    folder = cases.parent
    write_png(folder / "image-1.png", np.full((SIZE, SIZE + 8, 3), 90, dtype=np.uint8))
    write_png(folder / "image-2.png", np.full((SIZE, SIZE + 1, 3), 90, dtype=np.uint8))
    rows = run(cases, tmp_path, "autoencoder_round_trip", model=model)
    assert read_image(tmp_path / rows["case-1"].image).shape == (SIZE, SIZE + 8, 3)
    assert "the image is 33x32, expected sides divisible by 4" in rows["case-2"].reason
    assert sum(row.status == "ok" for row in rows.values()) == 4


def test_a_killed_shard_goes_on_with_what_it_had_not_finished(
    cases: Path, tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def slow(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        calls.append(batch.case_ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return batch.images

    register(slow)
    with pytest.raises(KeyboardInterrupt):
        run(cases, tmp_path, "theirs", batch_size=2)
    assert not (tmp_path / "shard-0.parquet").exists()
    journal = next((tmp_path / "images").glob("*/finished-*.jsonl"))
    with journal.open("a") as lines:
        lines.write('{"case_id": "case-3", "sha')  # cut short by the kill
    rows = run(cases, tmp_path, "theirs", batch_size=2)
    assert [sorted(set(batch)) for batch in calls] == [
        ["case-0", "case-1"],
        ["case-2", "case-3"],
        ["case-2", "case-3"],
        ["case-4"],
    ]
    assert [row.status for row in rows.values()] == ["ok"] * 5
    # What followed the line that was cut short is known as well.
    (tmp_path / "shard-0.parquet").unlink()
    run(cases, tmp_path, "theirs", batch_size=2)
    assert len(calls) == 4


def test_finished_images_are_not_taken_over_if_anything_changed(cases: Path, tmp_path: Path, register: Any) -> None:
    done: list[str] = []

    def note(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        done.extend(dict.fromkeys(batch.case_ids))
        return batch.images

    def again(**options: Any) -> list[str]:
        done.clear()
        run(cases, tmp_path, "theirs", **options)
        return list(done)

    register(note)
    assert len(again()) == 5
    assert again() == []
    assert again(shards=2, shard=1) == []  # other shards find them too
    next((tmp_path / "images").glob("*/case-1.png")).write_bytes(b"damaged")
    assert again() == ["case-1"]
    write_png(cases.parent / "image-2.png", np.zeros((SIZE, SIZE, 3), dtype=np.uint8))
    assert again() == ["case-2"]
    change_cases(cases, case_3={"instruction": "another"})
    assert again() == ["case-3"]
    assert len(again(spec={"code": "changed"})) == 5


def test_nan_and_exceptions_fail_their_case_alone(cases: Path, tmp_path: Path, register: Any) -> None:
    def faulty(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        if "case-1" in batch.case_ids:
            raise ValueError("cannot do this one")
        made = batch.images.clone()
        for i, name in enumerate(batch.case_ids):
            if name == "case-2":
                made[i, 0, 0, 0] = torch.nan
        return made

    register(faulty)
    rows = run(cases, tmp_path, "theirs")
    assert rows["case-1"].reason == "case case-1: ValueError: cannot do this one"
    assert "NaN or infinite" in rows["case-2"].reason
    assert [rows[f"case-{i}"].status for i in (0, 3, 4)] == ["ok"] * 3
    assert not list((tmp_path / "images").glob("*/case-2.png"))


def test_what_an_editor_measures_stands_in_the_record(cases: Path, tmp_path: Path, register: Any) -> None:
    def measured(model: Any, batch: editors.EditBatch, params: Any) -> editors.Measured:
        values = [float(case_id[-1]) / 2 for case_id in batch.case_ids]
        return editors.Measured(batch.images, {"latent_error": values})

    register(measured)
    rows = run(cases, tmp_path, "theirs")
    assert {name: json.loads(row.measures) for name, row in rows.items()} == {
        f"case-{i}": {"latent_error": i / 2} for i in range(5)
    }


@pytest.mark.parametrize("values", [[1.0], [float("nan")] * 4])
def test_a_wrong_measure_stops_the_job_with_its_name(
    cases: Path, tmp_path: Path, register: Any, values: list[float]
) -> None:
    register(lambda model, batch, params: editors.Measured(batch.images, {"error": values}))
    with pytest.raises(EditorError, match="its measure 'error' is .*, one a case"):
        run(cases, tmp_path, "theirs")


def test_an_editor_that_always_breaks_shows_its_traceback(cases: Path, tmp_path: Path, register: Any) -> None:
    def broken(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        raise TypeError("a slip")

    register(broken)
    with pytest.raises(TypeError, match="a slip"):
        run(cases, tmp_path, "theirs")
    assert not (tmp_path / "shard-0.parquet").exists()


def test_every_generator_is_the_case_own(cases: Path, tmp_path: Path, register: Any) -> None:
    drawn: dict[str, float] = {}

    def draw(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        for name, generator in zip(batch.case_ids, batch.generators, strict=True):
            value = float(torch.rand((), generator=generator))
            assert drawn.setdefault(name, value) == value
        return batch.images

    register(draw)
    run(cases, tmp_path / "a", "theirs", batch_size=4)
    first = dict(drawn)
    run(cases, tmp_path / "b", "theirs", batch_size=3)
    assert len(set(first.values())) == 5
    drawn.clear()
    run(cases, tmp_path / "c", "theirs", spec={"seed": 2})
    assert not set(drawn.values()) & set(first.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"editor": "mask_guide"}, "Did you mean 'mask_guided'"),
        ({"params": {"schedul": "step"}}, "Did you mean 'schedule'"),
        ({"spec": {"sed": 1}}, "there is no key 'sed'. Did you mean 'seed'"),
        ({"shard": 2, "shards": 2}, "expected 0 <= shard < shards"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"model": None}, "needs a text_to_image model"),
    ],
)
def test_wrong_jobs_stop_with_one_message(
    cases: Path, tmp_path: Path, model: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        run(cases, tmp_path, **{"model": model, **options})


def test_pixels_survive_the_way_through_floats() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(to_arrays(to_images([every]))[0], every)


def test_case_table_fields_used_by_the_runner_exist() -> None:
    assert {*inputs.TEXTS, "drags", "mask", "true_edit", "exemplar"} <= set(Case.__dataclass_fields__)
    assert set(asdict(CaseRecord("x", "ok"))) == set(CaseRecord.__dataclass_fields__)
