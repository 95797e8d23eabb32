"""Sources of equal pixels are one cluster, in every data set that is read from files."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celeba_files import write_celeba
from coco_files import write_coco
from drag_fixture import red_bench
from editfrontier.data.cases import Case, read_image, write_png
from editfrontier.data.reading.build import build_task
from editfrontier.data.reading.twins import joined, pixel_hash
from magicbrush_fixture import rows, scene, write_parquet


def case(folder: Path, name: str, grey: int, cluster: str = "", identity: str = "") -> Case:
    write_png(folder / f"{name}.png", np.full((4, 4, 3), grey, np.uint8))
    return Case(case_id=name, task="t", image=f"{name}.png", source_caption="", target_caption="", instruction="",
                edit_type="x", cluster=cluster or name, identity=identity, licence="CC0-1.0")  # fmt: skip


def test_the_first_of_equal_sources_names_the_cluster(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cases = [case(tmp_path, *row) for row in (("a", 1, "", "Ann"), ("b", 2), ("c", 1, "", "Bob"), ("d", 3), ("e", 2))]
    made = joined(cases, tmp_path, {})
    assert [one.cluster for one in made] == ["a", "b", "a", "d", "b"]
    assert [one.identity for one in made] == ["Ann", "", "Ann", "", ""]
    assert [replace(one, cluster="", identity="") for one in made] == [
        replace(one, cluster="", identity="") for one in cases
    ]
    assert caplog.text.count("have equal pixels, they are one cluster") == 2


def test_a_source_of_two_pictures_joins_those_of_both(tmp_path: Path) -> None:
    cases = [case(tmp_path, name, grey) for name, grey in (("a", 1), ("b", 2), ("c", 3), ("d", 2), ("e", 3))]
    one, two, three = (pixel_hash(np.full((4, 4, 3), grey, np.uint8)) for grey in (1, 2, 3))
    noted = {"a": {one}, "b": {two}, "c": {one, two}, "d": {two}, "e": {three}}
    assert [found.cluster for found in joined(cases, tmp_path, noted)] == ["a", "a", "a", "a", "e"]


def test_every_image_of_a_cluster_is_compared(tmp_path: Path) -> None:
    cases = [case(tmp_path, *row) for row in (("a", 1, "one"), ("b", 2, "one"), ("c", 2), ("d", 3))]
    assert [found.cluster for found in joined(cases, tmp_path, {})] == ["one", "one", "one", "d"]


def test_pictures_of_one_row_of_bytes_and_two_shapes_differ() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    assert pixel_hash(pixels) != pixel_hash(pixels.reshape(6, 4, 3))


@pytest.mark.parametrize("with_people", [True, False])
def test_twins_of_celeba_are_one_face_and_no_exemplar_of_each_other(tmp_path: Path, with_people: bool) -> None:
    raw = tmp_path / "raw"
    write_celeba(raw, count=12, size=128)
    pictures = raw / "CelebA-HQ-img"
    for number in range(12):  # all faces but two are one
        if number not in (4, 5, 7):
            shutil.copy(pictures / "5.jpg", pictures / f"{number}.jpg")
    if not with_people:
        (raw / "identity_CelebA.txt").unlink(missing_ok=True)
    out = tmp_path / "out"
    cases = build_task("portraits", 40, 1, out, dataset="celeba_hq", root=str(raw), size=64, split="all")
    assert len(cases) == 12 and len({case.cluster for case in cases}) == len({case.identity for case in cases}) == 3
    named = [line.split(",")[0] for line in (out / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert len(set(named)) == 12  # which images stand behind the cases is said as before
    exemplars = [one for one in cases if one.exemplar]
    assert exemplars
    for one in exemplars:
        assert not np.array_equal(read_image(out / one.image), read_image(out / one.exemplar))


def test_twins_of_coco_are_found_though_their_crops_differ(tmp_path: Path) -> None:
    raw = write_coco(tmp_path / "raw")
    options = {"dataset": "coco", "root": str(raw), "size": 64}
    clusters = [case.cluster for case in build_task("scenes", 40, 1, tmp_path / "a", **options)]
    sizes: dict[tuple[int, int], list[Path]] = {}
    for name in clusters:
        path = raw / "val2017" / f"{int(name.removeprefix('coco-')):012d}.jpg"
        with Image.open(path) as image:
            sizes.setdefault(image.size, []).append(path)
    first, second = max(sizes.values(), key=len)[:2]
    shutil.copy(first, second)
    again = [case.cluster for case in build_task("scenes", 40, 1, tmp_path / "b", **options)]
    assert len(set(clusters)) == len(clusters) and len(set(again)) == len(again) - 1


def test_sessions_of_one_photo_are_one_cluster(tmp_path: Path) -> None:
    content = rows()
    buffer = tmp_path / "shared.png"
    Image.fromarray(scene("12", 0)).save(buffer)
    for row in content:
        if row["turn_index"] == 1 and row["img_id"] == "5000":
            row["source_img"]["bytes"] = buffer.read_bytes()
    raw = write_parquet(tmp_path / "raw", content)
    cases = build_task("brush", 100, 1, tmp_path / "out", dataset="magicbrush", root=str(raw), size=20)
    of = {case.case_id.split("-")[1]: case.cluster for case in cases}
    assert of["12"] == of["5000"] != of["368667"] == "brush-368667"
    chained = build_task("brush", 100, 1, tmp_path / "c", dataset="magicbrush", root=str(raw), size=20, turns="chain")
    assert {case.chain for case in chained} == {"brush-12", "brush-5000", "brush-368667"}
    assert len({case.cluster for case in chained}) == 2


def test_samples_of_one_picture_to_drag_are_one_cluster(tmp_path: Path) -> None:
    raw = red_bench(tmp_path / "raw")
    options = {"dataset": "red_bench", "root": str(raw), "size": 64}
    alone = build_task("drags", 100, 1, tmp_path / "a", **options)
    folder = next(raw.rglob("c1"))
    shutil.copytree(folder, folder.with_name("d7"))
    both = build_task("drags", 100, 1, tmp_path / "b", **options)
    assert len({case.cluster for case in alone}) == len(alone)
    assert {case.case_id: case.cluster for case in both}["drags-d7"] == "drags-c1"
    assert {case.cluster for case in both} == {case.cluster for case in alone}
