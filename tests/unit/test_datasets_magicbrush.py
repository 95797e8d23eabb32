"""MagicBrush, on parquet files and unpacked archives of the published formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.chains import chains_of
from editfrontier.data.reading.build import build_task
from magicbrush_fixture import SESSIONS, SIDE, edit_area, png, rows, scene, write_archive, write_parquet


def built(out: Path, root: Path, n: int = 100, **options: Any) -> list[Case]:
    build_task("brush", n, 0, out, dataset="magicbrush", root=str(root), **{"size": SIDE, **options})
    return read_cases(out / "cases.parquet")


def test_every_turn_of_dev_is_a_case_of_its_session(tmp_path: Path) -> None:
    cases = built(tmp_path / "out", write_parquet(tmp_path / "raw", rows()))
    assert {case.case_id for case in cases} == {
        *("brush-368667-t1", "brush-368667-t2", "brush-368667-t3"),
        *("brush-12-t1", "brush-5000-t1", "brush-5000-t2"),
    }
    for case in cases:
        _, session, turn = case.case_id.rsplit("-", 2)
        number = int(turn[1:])
        assert case.cluster == f"brush-{session}" and case.instruction == f"change {number} of {session}"
        assert np.array_equal(read_image(tmp_path / "out" / case.image), scene(session, number - 1))
        assert np.array_equal(read_image(tmp_path / "out" / case.true_edit), scene(session, number))
        # The mask is the transparent area, whether what lies below it is white or black.
        assert np.array_equal(read_mask(tmp_path / "out" / case.mask, (SIDE, SIDE)), edit_area(number))
        assert (case.mask_origin, case.instruction_origin, case.split) == ("human", "free_form", "dev")
        assert case.source_caption == case.target_caption == "" and not case.chain and "CC BY 4.0" in case.licence


def test_a_mask_of_another_resolution_is_brought_to_its_picture(tmp_path: Path) -> None:
    cases = built(tmp_path / "out", write_parquet(tmp_path / "raw", rows(s12=2)))
    (case,) = (case for case in cases if case.case_id == "brush-12-t1")
    assert np.array_equal(read_mask(tmp_path / "out" / case.mask, (SIDE, SIDE)), edit_area(1))


def test_a_seed_orders_sessions_and_keeps_their_turns_together(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "raw", rows())
    some = built(tmp_path / "some", root, 4)
    every = built(tmp_path / "every", root)
    assert [case.case_id for case in some] == [case.case_id for case in every][:4]
    assert [case.cluster for case in every] == sorted(
        (case.cluster for case in every), key=[case.cluster for case in every].index
    )
    orders = set()
    for seed in range(6):
        made = build_task("b", 9, seed, tmp_path / str(seed), dataset="magicbrush", root=str(root), size=SIDE)
        orders.add(tuple(dict.fromkeys(case.cluster for case in made)))
    assert len(orders) > 1


def test_a_chain_hands_the_first_picture_on_and_grows_what_may_change(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases = built(out, write_parquet(tmp_path / "raw", rows()), turns="chain")
    chains = {chain[0].chain: chain for chain in chains_of(cases)}
    assert {name: len(chain) for name, chain in chains.items()} == {
        f"brush-{session}": turns for session, turns in SESSIONS.items()
    }
    three = chains["brush-368667"]
    assert {case.image for case in three} == {"image/brush-368667-t1.png"}
    assert sorted(path.name for path in (out / "image").glob("*-t2.png")) == []
    changed = np.zeros((SIDE, SIDE), bool)
    for case in three:
        changed |= edit_area(case.step)
        assert np.array_equal(read_mask(out / case.background_mask, (SIDE, SIDE)), ~changed)
        assert np.array_equal(read_mask(out / case.mask, (SIDE, SIDE)), edit_area(case.step))
        assert np.array_equal(read_image(out / case.true_edit), scene("368667", case.step))


def test_a_chain_ends_before_a_turn_that_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = [row for row in rows() if (row["img_id"], row["turn_index"]) != ("368667", 2)]
    root = write_parquet(tmp_path / "raw", content)
    chain = [case for case in built(tmp_path / "out", root, turns="chain") if case.cluster == "brush-368667"]
    assert [case.step for case in chain] == [1]
    assert "session 368667: turn 2 is missing" in caplog.text
    single = [case.case_id for case in built(tmp_path / "single", root) if case.cluster == "brush-368667"]
    assert single == ["brush-368667-t1", "brush-368667-t3"]


@pytest.mark.parametrize("deep", [False, True])
def test_the_test_split_is_read_from_where_it_was_unpacked(tmp_path: Path, deep: bool) -> None:
    place = write_archive(tmp_path / "mine" / "test" if deep else tmp_path / "mine")
    options = {"split": "test", "test_folder": str(tmp_path / "mine")}
    cases = {case.case_id: case for case in built(tmp_path / "out", tmp_path / "raw", **options)}
    assert len(cases) == 6 and place.is_dir()
    second = cases["brush-368667-t2"]
    assert second.split == "test"
    assert (second.source_caption, second.target_caption) == ("scene 368667 after 1", "scene 368667 after 2")
    assert cases["brush-368667-t1"].source_caption == "scene 368667"
    assert np.array_equal(read_mask(tmp_path / "out" / second.mask, (SIDE, SIDE)), edit_area(2))
    local = built(tmp_path / "local", tmp_path / "raw", captions="local", **options)
    assert {case.target_caption for case in local} == {"thing 1", "thing 2", "thing 3"}
    assert all(case.source_caption.startswith("scene") for case in local)


def test_both_layouts_give_the_same_cases(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "raw", rows())
    parquet = built(tmp_path / "a", root)
    write_archive(root / "dev")
    folders = built(tmp_path / "b", root)
    assert [case.case_id for case in parquet] == [case.case_id for case in folders]
    for one, other in zip(parquet, folders, strict=True):
        for role in ("image", "mask", "true_edit"):
            paths = tmp_path / "a" / getattr(one, role), tmp_path / "b" / getattr(other, role)
            assert paths[0].read_bytes() == paths[1].read_bytes()
    assert all(case.source_caption for case in folders)


def test_captions_of_the_names_in_the_authors_code_are_found(tmp_path: Path) -> None:
    place = write_archive(tmp_path / "raw" / "test")
    (place / "global_descriptions.json").rename(place / "global_description.json")
    (place / "local_descriptions.json").rename(place / "local_captions.json")
    cases = built(tmp_path / "out", tmp_path / "raw", split="test", captions="local")
    assert {case.target_caption for case in cases} == {"thing 1", "thing 2", "thing 3"}
    (place / "local_captions.json").unlink()
    assert {
        case.target_caption for case in built(tmp_path / "none", tmp_path / "raw", split="test", captions="local")
    } == {""}


def test_a_mask_that_hides_nothing_leaves_the_case_without_one(tmp_path: Path) -> None:
    content = rows()
    for row in content:
        if row["img_id"] == "12":
            opaque = np.dstack([scene("12", 0), np.full((SIDE, SIDE), 255, np.uint8)])
            row["mask_img"] = {"bytes": png(opaque), "path": None}
    cases = built(tmp_path / "out", write_parquet(tmp_path / "raw", content))
    assert {case.case_id: bool(case.mask) for case in cases}["brush-12-t1"] is False
    assert sum(bool(case.mask) for case in cases) == 5


def test_images_that_are_not_square_are_cropped_about_the_mask(tmp_path: Path) -> None:
    content = [row for row in rows() if row["img_id"] == "12"]
    wide = np.zeros((SIDE, 3 * SIDE, 3), np.uint8)
    rgba = np.dstack([wide, np.full(wide.shape[:2], 255, np.uint8)])
    rgba[10:20, -20:, 3] = 0
    content[0]["source_img"]["bytes"], content[0]["mask_img"]["bytes"] = png(wide), png(rgba)
    content[0]["target_img"]["bytes"] = png(wide.repeat(2, 0).repeat(2, 1))  # DALL-E's answer may be larger
    (case,) = built(tmp_path / "out", write_parquet(tmp_path / "raw", content, 1))
    assert np.argwhere(read_mask(tmp_path / "out" / case.mask, (SIDE, SIDE)))[:, 1].min() == SIDE - 20
    (case,) = built(tmp_path / "out", tmp_path / "raw", fit="stretch")
    assert read_mask(tmp_path / "out" / case.mask, (SIDE, SIDE)).sum() == pytest.approx(10 * 20 / 3, abs=8)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    with pytest.raises(UserError, match=r"there is no .*data.*osunlp/MagicBrush"):
        built(tmp_path / "out", root)
    write_parquet(root, rows(), 3)
    _, second, third = sorted((root / "data").iterdir())
    third.rename(tmp_path / third.name)
    with pytest.raises(UserError, match=r"holds 2 of 3 files dev-\*\.parquet"):
        built(tmp_path / "out", root)
    (tmp_path / third.name).rename(third)
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{second.name}: is truncated or no parquet file.*download it again"):
        built(tmp_path / "out", root)
    second.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match=r"is a pointer of Git LFS"):
        built(tmp_path / "out", root)
    second.write_bytes(whole)
    assert len(built(tmp_path / "out", root)) == 6
    (root / "data" / "dev-copy.parquet").write_bytes(whole)
    with pytest.raises(UserError, match=r"session \d+: turn \d stands twice.*under two names"):
        built(tmp_path / "out", root)
    (root / "data" / "dev-copy.parquet").unlink()
    pq.write_table(pq.read_table(second).drop_columns(["mask_img", "instruction"]), second)
    with pytest.raises(UserError, match=r"has no column mask_img, instruction, expected img_id, turn_index"):
        built(tmp_path / "out", root)


def test_images_and_masks_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    def refused(column: str, value: Any, match: str) -> None:
        content = rows()
        content[1][column] = value
        with pytest.raises(UserError, match=match):
            built(tmp_path / "out", write_parquet(tmp_path / "raw", content))

    flat = {"bytes": png(scene("12", 0)), "path": None}
    refused("mask_img", flat, r"session 368667, turn 2, mask_img: has no alpha channel.*original file")
    tall = np.zeros((2 * SIDE, SIDE, 4), np.uint8)
    refused("mask_img", {"bytes": png(tall), "path": None}, r"mask_img: is 40x80 but its image is 40x40.* same shape")
    refused("source_img", {"bytes": b"GIF", "path": None}, r"turn 2, source_img: is no readable image")
    refused("target_img", {"bytes": None, "path": "x.png"}, r"session 368667, turn 2: its target_img holds no image")
    refused("target_img", None, r"session 368667, turn 2: its target_img holds no image")


def test_archives_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no edit_sessions\.json.*password MagicBrush.* `test_folder`"):
        built(tmp_path / "out", tmp_path / "raw", split="test")
    place = write_archive(tmp_path / "raw" / "test")
    path = place / "edit_sessions.json"
    text = path.read_text()

    def refused(content: str, match: str) -> None:
        path.write_text(content)
        with pytest.raises(UserError, match=match):
            built(tmp_path / "out", tmp_path / "raw", split="test")

    refused(text[:-30], r"edit_sessions\.json: is truncated or no JSON")
    refused(text.replace('"12"', '"5000"'), r"edit_sessions\.json: the key '5000' stands twice")
    refused(text.replace('"instruction"', '"text"', 1), r"session 368667, turn 1: has no instruction, expected input")
    for name in ("../../etc/x.png", "/etc/x.png", ".."):
        match = rf"session 368667, turn 1: '{name}' leads out of the folder of its images"
        refused(text.replace("368667-mask1.png", name, 1), match)
    refused(text.replace('"12"', '"../12"'), r"session ../12, turn 1: '../12' leads out of the folder")
    refused('{"12": {}}', r"session 12: is \{\}, expected a list of turns")
    refused("[]", r"edit_sessions\.json: holds no object")
    path.write_text(text)
    (place / "images" / "12" / "12-mask1.png").unlink()
    with pytest.raises(UserError, match=r"12-mask1\.png: no such image file"):
        built(tmp_path / "out", tmp_path / "raw", split="test")
    (place / "local_descriptions.json").write_text('{"12": "text"}')
    with pytest.raises(UserError, match=r"local_descriptions\.json, session 12: is 'text', expected captions"):
        built(tmp_path / "out", tmp_path / "raw", split="test")
