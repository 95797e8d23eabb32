"""`verify-results` finds what differs from the checksums of a results folder, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from editfrontier.base.files import write_bytes
from editfrontier.base.integrity.contents import damage, ends_whole
from editfrontier.base.parquet import write_parquet
from editfrontier.cli import app
from editfrontier.data.cases import encode_png
from editfrontier.editing.records import CaseRecord, write_record
from editfrontier.inversion.cache import InversionCache
from editfrontier.inversion.trajectory import Trajectory
from editfrontier.study.config.study import Study, write_config


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One task with two edited images, their scores and an inversion."""
    root = tmp_path / "results"
    cases, record = root / "data/faces/cases.parquet", root / "edits/faces/sdedit/shard-0.parquet"
    write_parquet(cases, pd.DataFrame({"case_id": ["a", "b"]}), {})
    rows = []
    for place, name in enumerate("ab"):
        image = record.parent / "images/0f" / f"{name}.png"
        write_bytes(image, encode_png(np.full((8, 8, 3), 50 * place, dtype=np.uint8)))
        rows.append(CaseRecord(name, "ok", image=f"images/0f/{name}.png", sha256=sha256(image)))
    write_record(record, rows, {"cases_sha256": sha256(cases)})
    scores = root / "scores/faces/sdedit.parquet"
    write_parquet(scores, pd.DataFrame({"value": [1.0]}), {"records": {record.name: sha256(record)}})
    features = root / "features/faces/sdedit.npz"
    features.parent.mkdir(parents=True)
    np.savez(features, features=np.arange(2000.0))
    cache = InversionCache(root / "inversions", "w", "c")
    made = Trajectory([torch.ones(1, 4, 2, 2)], [1.0], {}, 1)
    cache.fetch([{"image": "a"}], "all", lambda rows: made, "cpu")
    return root


def verify(root: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify-results", str(root)])
    return result.exit_code, result.output


def test_whole_results_are_as_described(results: Path) -> None:
    status, text = verify(results)
    assert (status, "all as described" in text) == (0, True), text
    assert "3 tables" in text and "1 archives" in text and "1 inversions" in text


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink])
@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("edits/*/*/images/*/a.png", "a.png"),
        ("edits/*/*/shard-0.parquet", "shard-0.parquet"),
        ("data/*/cases.parquet", "cases.parquet"),
        ("features/*/*.npz", "sdedit.npz"),
        ("inversions/*/*", ".safetensors"),
    ],
)
def test_harm_is_found_and_named(results: Path, pattern: str, named: str, harm: Callable[[Path], None]) -> None:
    [path] = results.glob(pattern)
    harm(path)
    status, text = verify(results)
    if harm is Path.unlink and path.suffix in (".npz", ".safetensors"):
        assert status == 0  # of these no other file holds a checksum: the run makes them when it asks for them
        return
    assert status == 1
    assert named in text


def test_list_of_files_tells_missing_and_cut_images(results: Path) -> None:
    record = results / "edits/faces/sdedit/shard-0.parquet"
    image = record.parent / "images/0f/b.png"
    assert damage(record, {}) == ""
    content = image.read_bytes()
    image.write_bytes(content[:-1])
    assert damage(record, {}) == f"images/0f/b.png has {len(content) - 1} bytes, expected {len(content)}"
    image.unlink()
    assert damage(record, {}) == "images/0f/b.png is missing"
    assert damage(results / "nowhere.parquet", {}) == ""


def test_a_changed_value_of_a_table_that_no_other_file_describes_is_found(results: Path) -> None:
    scores = results / "scores/faces/sdedit.parquet"
    content = scores.read_bytes()
    value = content.index(np.float64(1.0).tobytes())
    scores.write_bytes(content[: value + 6] + b"\x01" + content[value + 7 :])
    status, text = verify(results)
    assert (status, f"{scores}: not a readable parquet table" in text) == (1, True), text


def test_the_config_of_a_run_ends_as_a_whole_file_does(results: Path) -> None:
    written = results / "config.yaml"
    write_config(Study({"evaluators": {}, "run": ["a"]}, {}, {}, {}), written)
    assert verify(results)[0] == 0
    for content in (written.read_bytes()[:9], b""):
        written.write_bytes(content)
        status, text = verify(results)
        assert (status, f"{written}: is cut short" in text) == (1, True), text


@pytest.mark.parametrize("name", ["data/faces/cases.parquet", "features/faces/sdedit.npz"])
def test_a_cut_file_does_not_end_as_its_kind_does(results: Path, name: str) -> None:
    assert ends_whole(results / name)
    cut(results / name)
    assert not ends_whole(results / name)
    (results / name).write_bytes(b"")
    assert not ends_whole(results / name)
