"""Case tables and the images that they name: what is written is read back, what is broken is named."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from editfrontier import cli
from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.seeding import case_generator, stable_seed
from editfrontier.data.cases import Case, case_files, read_cases, read_image, read_mask, write_cases, write_png

CASE = Case(
    case_id="portraits-0-smile",
    task="portraits",
    image="images/0.png",
    source_caption="a person",
    target_caption="a person with a smile",
    instruction="add a smile",
    edit_type="attribute_add",
    cluster="0",
    licence="CC0-1.0",
)


def test_a_case_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    cases = [CASE, replace(CASE, case_id="portraits-1-smile", desired=False)]
    write_cases(tmp_path / "cases.parquet", cases)
    assert read_cases(tmp_path / "cases.parquet") == cases


@pytest.mark.parametrize(
    ("broken", "column"),
    [
        ([CASE, CASE], "case_id"),
        ([replace(CASE, case_id="../up")], "case_id"),
        ([replace(CASE, mask_origin="guess")], "mask_origin"),
        ([replace(CASE, cluster="")], "cluster"),
    ],
)
def test_a_broken_case_table_names_its_column(tmp_path: Path, broken: list[Case], column: str) -> None:
    with pytest.raises(UserError, match=f"cases.parquet: column '{column}'"):
        write_cases(tmp_path / "cases.parquet", broken)


def test_a_missing_or_truncated_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cases.parquet: no such table"):
        read_cases(tmp_path / "cases.parquet")
    (tmp_path / "cases.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match="cases.parquet: not a readable parquet"):
        read_cases(tmp_path / "cases.parquet")


def test_images_and_masks_read_back_exactly(tmp_path: Path) -> None:
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    write_png(tmp_path / "image.png", pixels)
    assert (read_image(tmp_path / "image.png") == pixels).all()
    mask = np.eye(8, dtype=bool)
    write_png(tmp_path / "mask.png", mask)
    assert (read_mask(tmp_path / "mask.png", (8, 8)) == mask).all()


def test_bad_images_and_masks_are_named_with_the_fix(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    with pytest.raises(UserError, match="image.png: no such image"):
        read_image(image)
    write_png(image, np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8))
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(UserError, match="image.png: is no readable image"):
        read_image(image)
    image.write_text("<html>not found</html>")
    with pytest.raises(UserError, match="image.png: is no readable image"):
        read_image(image)
    write_png(tmp_path / "mask.png", np.zeros((8, 8), dtype=bool))
    with pytest.raises(UserError, match="the mask is 8x8 but its image is 16x4"):
        read_mask(tmp_path / "mask.png", (4, 16))
    with pytest.raises(UserError, match="the mask is empty"):
        read_mask(tmp_path / "mask.png", (8, 8))
    assert not read_mask(tmp_path / "mask.png", (8, 8), allow_empty=True).any()


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    assert stable_seed("a", 1) == stable_seed("a", 1)
    assert len({stable_seed(*parts) for parts in [("a", 1), ("a", 2), ("b", 1), ("a1",), ("a", "1")]}) == 5
    first, again, other = (case_generator(case, "sdedit", 0).initial_seed() for case in ("x", "x", "y"))
    assert first == again != other


def test_a_misspelt_name_gets_a_proposal() -> None:
    assert did_you_mean("sdedti", ["sdedit", "source"]) == " Did you mean 'sdedit'?"
    assert did_you_mean("zzz", ["sdedit", "source"]) == " Known: sdedit, source."


def test_a_table_that_others_wrote_is_checked_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cases.parquet"
    write_cases(path, [CASE, replace(CASE, case_id="portraits-1-smile")])
    frame = pd.read_parquet(path)
    frame.to_parquet(path, index=False)
    assert len(read_cases(path)) == 2
    frame.assign(case_id="../up").to_parquet(path, index=False)
    with pytest.raises(UserError, match="cases.parquet: column 'case_id'"):
        read_cases(path)


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.zeros((8, 8), np.uint8))
    before = path.read_bytes()
    real = tempfile.mkstemp

    def on_a_full_disk(**options: Any) -> tuple[int, str]:
        handle, name = real(**options)
        os.close(handle)
        return os.open("/dev/full", os.O_WRONLY), name

    monkeypatch.setattr(tempfile, "mkstemp", on_a_full_disk)
    with pytest.raises(OSError, match="No space left") as error:
        write_png(path, np.ones((8, 8), np.uint8))
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "error: /data/a.png: the disk is full. Free some space and run again.\n"),
        (errno.EROFS, "error: /data/a.png: Read-only file system. Correct its permissions, or name another place.\n"),
    ],
)
def test_a_disk_that_cannot_be_written_is_one_line_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, message: str
) -> None:
    def failing(number: int) -> Callable[..., None]:
        def fail(**_: object) -> None:
            raise OSError(number, os.strerror(number), "/data/a.png")

        return fail

    monkeypatch.setattr(cli, "app", failing(code))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2 and capsys.readouterr().err.endswith(message)
    monkeypatch.setattr(cli, "app", failing(errno.EIO))  # nobody knows what mends it
    with pytest.raises(OSError, match="Input/output"):
        cli.main()


@pytest.mark.parametrize("drags", ["not JSON", "[1]", "{}", '[{"source_mask": 5}]'])
def test_drags_that_cannot_be_read_name_no_files(drags: str) -> None:
    texts = dict.fromkeys(("source_caption", "target_caption", "instruction", "edit_type", "cluster", "licence"), "")
    case = Case(case_id="a", task="drags", image="source/a.png", drags=drags, **texts)
    assert case_files(case) == ["source/a.png"]
