"""ReD-Bench and DragBench, on files of the published formats."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drag_fixture import CHANGE, TEXT, bench_sample, box, dense, drag_bench, operation, picture, red_bench, red_sample
from editfrontier import editors
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image, read_mask
from editfrontier.data.dataset import DATASETS, dataset_options, get_dataset
from editfrontier.data.datasets import drag_bench as bench_module
from editfrontier.data.datasets import red_bench as red_module
from editfrontier.data.pixels import to_arrays
from editfrontier.data.reading.build import build_task
from editfrontier.data.reading.drag_pairs import fitted, regions_of, split_pairs
from editfrontier.data.regions import apply, parse_drags, rectangle_around
from editfrontier.editing.inputs import make_batch, read_inputs
from editfrontier.editing.records import EditSpec
from editfrontier.statistics.subsets import groups_of


def built(dataset: str, out: Path, n: int = 500, **options: Any) -> dict[str, Case]:
    build_task("drags", n, 0, out, dataset=dataset, **options)
    return {case.case_id: case for case in read_cases(out / "cases.parquet")}  # as they were written


def drags(case: Case, folder: Path, size: int) -> list[Any]:
    return parse_drags(case.drags, folder, (size, size), case.case_id)


@pytest.mark.parametrize("name", ["magicbrush", "red_bench", "drag_bench", "pie_bench", "own_images"])
def test_data_sets_are_found_by_name_and_say_how_to_get_them(name: str) -> None:
    dataset = get_dataset(name)
    assert name in DATASETS and dataset.name == name
    assert dataset.title and dataset.licence and dataset.terms and dataset.by_hand and dataset.files
    assert dataset_options(dataset, {"size": 128}).size == 128
    with pytest.raises(UserError, match=rf"dataset '{name}', option 'sice'.* Did you mean 'size'"):
        dataset_options(dataset, {"sice": 128})


def test_modules_that_only_help_are_no_data_sets() -> None:
    assert not {"json_files", "magicbrush_files", "build", "files"} & set(DATASETS)
    with pytest.raises(UserError, match=r"dataset 'red_bensh': there is no such dataset\. Did you mean 'red_bench'"):
        get_dataset("red_bensh")


# ReD-Bench ------------------------------------------------------------------------------------------------------------


def test_samples_come_by_number_with_texts_and_drags_that_can_be_read(tmp_path: Path) -> None:
    cases = built("red_bench", tmp_path / "out", root=str(red_bench(tmp_path / "raw")), size=64)
    assert list(cases) == ["drags-c1", "drags-b2", "drags-a3", "drags-a10"]
    kinds = [case.edit_type for case in cases.values()]
    assert kinds == ["deformation", "relocation", "mixed", "rotation"]
    for case in cases.values():
        regions = drags(case, tmp_path / "out", 64)
        assert len(regions) == (2 if case.edit_type == "mixed" else 1)
        assert read_image(tmp_path / "out" / case.image).shape == (64, 64, 3)
        mask = read_mask(tmp_path / "out" / case.mask, (64, 64))
        assert np.array_equal(read_mask(tmp_path / "out" / case.background_mask, (64, 64)), ~mask)
        assert all(mask[region.source | region.target].all() for region in regions)
        assert case.source_caption == TEXT and case.target_caption == f"{TEXT} {CHANGE}" and case.instruction == CHANGE
        assert "non-commercial" in case.licence and case.cluster == case.case_id
    assert list(built("red_bench", tmp_path / "two", 2, root=str(tmp_path / "raw"))) == ["drags-c1", "drags-b2"]


def test_targets_are_rebuilt_as_the_authors_do(tmp_path: Path) -> None:
    """Brute force, pixel by pixel, after their description; their masks and their metrics are a pixel apart here."""
    sample = red_module.read_sample(red_bench(tmp_path) / "ReD_Bench" / "b2")
    (region,) = sample.regions
    assert sample.image.shape == (60, 90, 3) and sample.image[11, 21].tolist() == [240, 200, 40]
    expected = np.zeros((60, 90), bool)
    rows, columns = np.nonzero(region.source)
    dx, dy = 50 - int(columns.mean()), 32 - int(rows.mean())
    assert (dx, dy) == (25, 17)
    for row, column in zip(rows, columns, strict=True):
        expected[row + dy, column + dx] = True
    assert np.array_equal(np.roll(region.target, (1, 1), (0, 1)), expected)
    # The map of the metrics goes from one given centroid to the other.
    assert region.affine.tolist() == [[1, 0, 24], [0, 1, 16]] and region.anchor is None
    assert np.array_equal(region.target, box(60, 90, 26, 44, 12, 12))
    assert region.points == (((25.0, 15.0), (49.0, 31.0)),) and sample.left_out == 1


def test_a_rotation_turns_about_its_anchor_and_keeps_its_angle(tmp_path: Path) -> None:
    sample = red_module.read_sample(red_bench(tmp_path) / "ReD_Bench" / "a10")
    (region,) = sample.regions
    angle = math.atan2(10, 14) - math.atan2(-16, 16)
    assert region.kind == "rotation" and region.anchor == (32.0, 32.0)
    assert math.atan2(region.affine[1, 0], region.affine[0, 0]) == pytest.approx(angle)
    assert apply(region.affine, np.array([[32.0, 32.0]]))[0] == pytest.approx((32, 32))
    # In the target, the mean of the region is seen from the anchor as the second centroid is.
    x, y = np.argwhere(region.target)[:, ::-1].mean(0) - 32
    assert math.atan2(y, x) == pytest.approx(math.atan2(10, 14), abs=0.05)
    assert region.target.sum() == pytest.approx(region.source.sum(), rel=0.05)


def test_a_region_is_its_contour_and_a_speck_is_none(tmp_path: Path) -> None:
    (region,) = red_module.read_sample(red_bench(tmp_path) / "ReD_Bench" / "c1").regions
    assert region.source.sum() == 256 and region.source[26, 26]  # the hole is filled
    drawn = region.source.copy()
    drawn[2, 2] = True
    speck = {"region_operations": {"0": operation("transformation", [2, 2], [5, 5])}}
    with pytest.raises(UserError, match=r"\(2, 2\) lies in none of the 1 regions"):
        red_module.read_regions(speck, drawn, tmp_path)
    first, second = red_module.read_sample(tmp_path / "ReD_Bench" / "a3").regions
    assert first.source[34, 34] and second.source[8, 8] and (first.source & second.source).sum() == 0
    assert first.points == (((33.0, 33.0), (23.0, 33.0)),) and second.kind == "deformation"
    assert second.affine.tolist() == [[1, 0, 10], [0, 1, 0]]  # as the authors move it


def test_the_editable_area_is_the_authors_where_they_ship_it(tmp_path: Path) -> None:
    raw = red_bench(tmp_path / "raw")
    folder = raw / "ReD_Bench" / "b2"
    (region,) = red_module.read_sample(folder).regions
    published = rectangle_around([region.source, region.target])
    Image.fromarray(published.astype(np.uint8)).save(folder / "mask.png")  # every value above 0 counts
    assert np.array_equal(red_module.read_sample(folder, masks="published").mask, published)
    with pytest.raises(UserError, match=r"mask\.png: no such image file"):
        built("red_bench", tmp_path / "out", root=str(raw), masks="published")
    rebuilt = built("red_bench", tmp_path / "out", root=str(raw), size=90)["drags-b2"]
    both = read_mask(tmp_path / "out" / rebuilt.mask, (90, 90))
    enlarged = np.asarray(Image.fromarray(published).resize((90, 90)))
    assert (both & enlarged).sum() / (both | enlarged).sum() > 0.95


def test_a_drag_by_pixels_arrives_at_its_target(tmp_path: Path) -> None:
    """Copy and paste, which needs no model, on the built case: the square is where the target mask is."""
    cases = built("red_bench", tmp_path, root=str(red_bench(tmp_path / "raw")), size=64)
    case = cases["drags-b2"]
    editor = editors.get_editor("copy_paste")
    inputs = read_inputs(case, list(cases.values()), tmp_path, editor.needs, 0)
    import torch

    batch = make_batch([inputs], EditSpec("copy_paste", "copy_paste"), torch.device("cpu"))
    (made,) = to_arrays(editor.edit(None, batch, editors.make_params(editor, {})))  # type: ignore[arg-type]
    (region,) = drags(case, tmp_path, 64)
    found = made[..., 0] > 165
    assert (found & region.target).sum() / (found | region.target).sum() > 0.75
    assert json.loads(case.design)["handles_left_out"] == 1


@pytest.mark.parametrize(("moved", "grade"), [(9, "small"), (12, "medium"), (20, "large")])
def test_drags_are_graded_by_their_motion(tmp_path: Path, moved: int, grade: str) -> None:
    """Of an image of 64 pixels, as the relocations of the micro world are: below 10, below 18.5, and above."""
    square = box(64, 64, 10, 10, 20, 20)
    red_sample(tmp_path / "a1", square, {"0": operation("transformation", [20, 20], [20 + moved, 20])})
    case = built("red_bench", tmp_path / "out", root=str(tmp_path), size=64)["drags-a1"]
    (entry,) = json.loads(case.drags)
    assert (entry["grade"], entry["magnitude"]) == (grade, moved)
    assert groups_of([case], "size") == {grade: [case.case_id]}


def test_captions_are_shortened_without_cutting_the_change(tmp_path: Path) -> None:
    folder = red_bench(tmp_path) / "ReD_Bench" / "b2"
    sample = red_module.read_sample(folder, caption_words=6)
    assert sample.source_caption == "A grey wall with a bright"
    assert sample.target_caption == "A grey The mark is moved." and sample.instruction == CHANGE
    assert red_module.read_sample(folder, caption_words=2).target_caption == CHANGE


def test_what_leaves_the_picture_is_left_out_and_said(tmp_path: Path) -> None:
    square = box(64, 64, 10, 10, 20, 20)  # two fifths of it go beyond the right side
    handles = [([12, 20], [50, 20]), ([27, 20], [63, 20])]
    red_sample(tmp_path / "a1", square, {"0": operation("transformation", [20, 20], [62, 20])}, handles)
    case = built("red_bench", tmp_path / "out", root=str(tmp_path), size=64)["drags-a1"]
    (region,) = drags(case, tmp_path / "out", 64)
    assert region.source.sum() == 240 and region.points == (((12.0, 20.0), (50.0, 20.0)),)
    assert json.loads(case.design) == {"handles_left_out": 1, "region_left_out": 0.4}
    shutil.rmtree(tmp_path / "a1")
    red_sample(tmp_path / "a1", square, {"0": operation("transformation", [20, 20], [99, 20])})
    with pytest.raises(UserError, match=r"a1, region 1: the source region has zero area"):
        built("red_bench", tmp_path / "out", root=str(tmp_path), size=64)


def test_a_crop_that_loses_a_region_names_the_other_fit(tmp_path: Path) -> None:
    wide = box(40, 120, 10, 5, 10, 10)
    red_sample(tmp_path / "a1", wide, {"0": operation("transformation", [10, 15], [100, 15])})
    with pytest.raises(UserError, match=r"a1: \d+% of the regions lie outside .* `fit: stretch`"):
        built("red_bench", tmp_path / "out", root=str(tmp_path), fit="crop")
    assert len(built("red_bench", tmp_path / "out", root=str(tmp_path), size=64)) == 1


def test_a_missing_data_set_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*ReD_Bench.*git clone https://huggingface"):
        built("red_bench", tmp_path / "out", root=str(tmp_path))
    (tmp_path / "ReD_Bench" / ".git").mkdir(parents=True)
    with pytest.raises(UserError, match=r"ReD_Bench: holds no sample, expected folders .* such as a12"):
        built("red_bench", tmp_path / "out", root=str(tmp_path))
    shutil.rmtree(tmp_path / "ReD_Bench")
    red_bench(tmp_path / "deep")
    with pytest.raises(UserError, match=r"one folder too deep.*`root: .*deep`"):
        built("red_bench", tmp_path / "out", root=str(tmp_path))


ROTATION = operation("rotation", [26, 16], [50, 32])
BAD_OPERATIONS = {
    "no anchor": (ROTATION, r"operation '0': is a rotation without 'anchors'"),
    "anchor in the centroid": (ROTATION | {"anchors": [50, 32]}, r"a centroid lies on the anchor"),
    "unknown task": (operation("rotatoin", [26, 16], [1, 1]), r"its task is 'rotatoin'.* Did you mean 'rotation'"),
    "outside": (operation("transformation", [1, 1], [5, 5]), r"\(1, 1\) lies in none of the 1 regions of operation"),
    "no point": (operation("transformation", [26], [5, 5]), r"\[26\] is no point \[x, y\]"),
    "no centroids": ({"task": "transformation"}, r"'centroids' is None, expected two points"),
    "no object": ("move", r"operation '0': is 'move', expected an object"),
    "a list of tasks": ({"task": ["rotation"]}, r"its task is \['rotation'\], expected one of"),
    "not a number": (operation("transformation", [26, float("nan")], [5, 5]), r"\[26, nan\] is no point"),
    "infinity": (operation("transformation", [26, 16], [float("inf"), 5]), r"\[inf, 5\] is no point"),
}


@pytest.mark.parametrize("name", BAD_OPERATIONS)
def test_operations_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    entry, message = BAD_OPERATIONS[name]
    red_sample(tmp_path / "a1", box(60, 90, 10, 20, 12, 12), {"0": entry})
    with pytest.raises(UserError, match=rf"a1/instruction\.json, .*{message}"):
        red_module.read_sample(tmp_path / "a1")


def test_files_of_a_sample_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "a1"
    red_sample(folder, box(60, 90, 10, 20, 12, 12), {"0": operation("transformation", [26, 16], [50, 32])})
    text = (folder / "instruction.json").read_text()
    (folder / "instruction.json").write_text(text[:-20])
    with pytest.raises(UserError, match=r"instruction\.json: is truncated or no JSON"):
        red_module.read_sample(folder)
    (folder / "instruction.json").write_text(text.replace('"begin_points": []', '"begin_points": [[1, 2]]'))
    with pytest.raises(UserError, match=r"has 1 begin_points and 0 target_points"):
        red_module.read_sample(folder)
    (folder / "instruction.json").write_text(text.replace('"begin_points": []', '"begin_points": 5'))
    with pytest.raises(UserError, match=r"instruction\.json: its begin_points or target_points are no list"):
        red_module.read_sample(folder)
    (folder / "instruction.json").write_text(json.dumps(json.loads(text) | {"point_operations": "none"}))
    with pytest.raises(UserError, match=r"instruction\.json: 'point_operations' is 'none', expected an object"):
        red_module.read_sample(folder)
    (folder / "instruction.json").write_text(text.replace("editing_prompt", "edit_prompt"))
    with pytest.raises(UserError, match=r"'editing_prompt' is None, expected a text"):
        red_module.read_sample(folder)
    (folder / "instruction.json").write_text(text.replace('"region_operations"', '"operations"'))
    with pytest.raises(UserError, match=r"'region_operations' holds no operation"):
        red_module.read_sample(folder)
    (folder / "instruction.json").write_text(text)
    Image.fromarray(np.zeros((90, 60), np.uint8)).save(folder / "operation.png")
    with pytest.raises(UserError, match=r"operation\.png: the mask is 60x90 but its image is 90x60"):
        red_module.read_sample(folder)
    (folder / "original_image.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"original_image\.png: is a pointer of Git LFS"):
        red_module.read_sample(folder)


def test_the_pool_puts_dragbench_behind_red_bench(tmp_path: Path) -> None:
    red, other = red_bench(tmp_path / "red"), drag_bench(tmp_path / "other")
    options = {"root": str(red), "pool": ["dr", "sr"], "drag_bench_root": str(other), "size": 64}
    cases = built("red_bench", tmp_path / "out", **options)
    assert len(cases) == 6
    assert list(cases)[4:] == ["drags-dr-animals-JH_2023-09-14-1820-16", "drags-sr-art_0"]
    assert [case.licence for case in cases.values()][3:5] == [red_module.LICENCE, bench_module.LICENCE]
    assert len(built("red_bench", tmp_path / "five", 5, **options)) == 5
    with pytest.raises(UserError, match=r"option 'pool'.*'ds'"):
        built("red_bench", tmp_path / "out", pool=["ds"])
    with pytest.raises(UserError, match=r"option 'caption_words': -1"):
        built("red_bench", tmp_path / "out", caption_words=-1)


# DragBench ------------------------------------------------------------------------------------------------------------


def test_dense_pairs_become_regions_with_their_maps(tmp_path: Path) -> None:
    cases = built("drag_bench", tmp_path / "out", root=str(drag_bench(tmp_path / "raw")), subset="both", size=64)
    assert list(cases) == ["drags-dr-animals-JH_2023-09-14-1820-16", "drags-sr-art_0"]
    moved, widened = cases.values()
    (region,) = drags(moved, tmp_path / "out", 64)
    assert region.kind == "relocation" and region.anchor is None
    assert region.affine == pytest.approx(np.array([[1, 0, 22], [0, 1, 10 * 64 / 48]]))  # 48 rows stretched to 64
    assert region.source.sum() == region.target.sum() == 12 * 16
    assert np.array(region.points) == pytest.approx(np.array([[[13.0, 20.1667], [35.0, 33.5]]]), abs=1e-3)
    assert json.loads(moved.design) == {"handles_left_out": 1}
    assert read_mask(tmp_path / "out" / moved.mask, (64, 64)).sum() == pytest.approx(64 * 64 * 40 / 48, rel=0.02)
    (region,) = drags(widened, tmp_path / "out", 64)
    assert region.kind == "deformation" and region.target.sum() == 512 and region.source.sum() == 256
    assert region.affine[:, :2] == pytest.approx(np.array([[2, 0], [0, 1]]), abs=0.02)
    assert widened.mask and read_mask(tmp_path / "out" / widened.mask, (64, 64)).sum() == 512  # the rectangle
    assert moved.source_caption == moved.target_caption == TEXT and moved.instruction == "" and not widened.design
    assert len(built("drag_bench", tmp_path / "dr", root=str(tmp_path / "raw"))) == 1


def test_two_regions_are_told_apart_even_where_their_rows_go_on() -> None:
    """The second target starts below the end of the first one, so that only its place says that it is another."""
    first, second = box(64, 64, 4, 4, 8, 8), box(64, 64, 30, 30, 10, 10)
    shift = np.array([[1.0, 0.0, 6.0], [0.0, 1.0, 0.0]])
    other = np.array([[1.0, 0.0, -8.0], [0.0, 1.0, 3.0]])
    sources, targets = split_pairs(dense(first, shift) + dense(second, other), "x")
    found = regions_of(sources, targets, (64, 64), "x")
    assert [region.affine[:, 2].tolist() for region in found] == [[-6, 0], [8, -3]]
    sources, targets = split_pairs(dense(second, other) + dense(first, shift), "x")
    assert [region.affine[0, 2] for region in regions_of(sources, targets, (64, 64), "x")] == [8, -6]


def test_targets_that_touch_are_two_regions_where_the_rows_start_again() -> None:
    left, right = box(64, 64, 10, 10, 8, 8), box(64, 64, 10, 18, 8, 8)
    pairs = dense(left, np.array([[1.0, 0, 0], [0, 1, 20]])) + dense(right, np.array([[1.0, 0, 0], [0, 1, -8]]))
    found = regions_of(*split_pairs(pairs, "x"), (64, 64), "x")
    assert [region.affine[1, 2] for region in found] == [-20, 8]


def test_points_on_a_coarse_grid_stand_for_squares() -> None:
    """The authors' page writes points in steps of the latent grid, 8 pixels."""
    target = box(64, 64, 16, 24, 24, 32)
    pairs = dense(target, np.array([[1.0, 0.0, -16.0], [0.0, 1.0, 8.0]]), step=8)
    (region,) = regions_of(*split_pairs(pairs, "x"), (64, 64), "x")
    assert np.array_equal(region.target, target) and np.array_equal(region.source, box(64, 64, 24, 8, 24, 32))
    assert region.affine[:, 2].tolist() == [16, -8]


def test_a_target_smaller_than_its_source_leaves_no_holes() -> None:
    (region,) = regions_of(
        *split_pairs(dense(box(64, 64, 20, 20, 10, 10), np.array([[3.0, 0, -40], [0, 3.0, -40]])), "x"), (64, 64), "x"
    )
    assert region.kind == "deformation" and np.array_equal(region.source, box(64, 64, 20, 20, 28, 28))


@pytest.mark.parametrize("angle", [-150.0, -30.0, 20.0, 90.0])
def test_rotations_are_found_with_their_fixed_point(angle: float) -> None:
    turn = math.radians(angle)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    anchor = np.array([100.0, 90.0])
    target = box(200, 200, 40, 60, 50, 30)
    back = np.column_stack([matrix.T, anchor - matrix.T @ anchor])
    fit = fitted(*(points.astype(float) for points in split_pairs(dense(target, back), "x")), 1.0)
    assert fit.kind == "rotation" and fit.anchor is not None
    assert math.degrees(math.atan2(fit.affine[1, 0], fit.affine[0, 0])) == pytest.approx(angle, abs=1)
    assert fit.anchor == pytest.approx(tuple(anchor), abs=2.5)  # sources are cut to whole pixels
    assert np.linalg.det(fit.affine[:, :2]) == pytest.approx(1)


def test_what_no_affine_map_explains_is_moved() -> None:
    line = np.array([[10.0, y] for y in range(10, 20)])
    assert fitted(line, line * 1.5, 1.0).kind == "relocation"  # points on a line say nothing of the other direction
    mirrored = np.array([[x, y] for x in range(10) for y in range(10)], float)
    fit = fitted(mirrored, mirrored * [-1, 1], 1.0)
    assert fit.kind == "relocation" and np.linalg.det(fit.affine[:, :2]) == 1


def test_samples_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder, mask = tmp_path / "dragbench-dr" / "x", np.ones((48, 48), np.uint8)
    pixels = picture(48, 48, box(48, 48, 4, 4, 8, 8))
    points = dense(box(48, 48, 20, 20, 8, 8), np.array([[1.0, 0.0, -16.0], [0.0, 1.0, -16.0]]))
    handles = [(6, 6), (22, 22)]

    def refused(match: str, **changes: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        values = {"points": points, "handles": handles, "mask": mask} | changes
        bench_sample(folder, pixels, **values)
        with pytest.raises(UserError, match=match):
            built("drag_bench", tmp_path / "out", root=str(tmp_path), size=48)

    refused(r"meta_data_region\.pkl, mask: the mask is 40x48 but its image is 48x48", mask=np.ones((48, 40), np.uint8))
    refused(r"meta_data_region\.pkl: 'mask' is no array", mask=None)
    refused(r"meta_data_region\.pkl: 'points' is no list of points", points=points[:-1])
    refused(r"meta_data_region\.pkl: 'points' is no list of points", points=[])
    refused(r"meta_data\.pkl: 'points' is no list of points", handles=[(1, 2, 3), (4, 5, 6)])
    refused(r"the target point \(52, 52\) lies outside the picture of 48x48", points=[(1, 1), (52, 52)])
    refused(r"2 points make 2 regions.* expected meta_data_region", points=[(1, 1), (9, 9), (1, 9), (30, 31)])
    bench_sample(tmp_path / "dragbench-dr" / "good", pixels, points, handles, mask)
    shutil.rmtree(folder)
    assert len(built("drag_bench", tmp_path / "out", root=str(tmp_path), size=48)) == 1
    meta = tmp_path / "dragbench-dr" / "good" / "meta_data_region.pkl"
    meta.write_bytes(pickle.dumps({"prompt": "", "points": points}))
    with pytest.raises(UserError, match=r"holds prompt, points, expected prompt, points, mask"):
        built("drag_bench", tmp_path / "out", root=str(tmp_path))
    meta.write_bytes(pickle.dumps({"prompt": "", "points": os.getcwd, "mask": mask}))
    with pytest.raises(UserError, match=r"meta_data_region\.pkl: this pickle wants to load '(posix|nt)\.getcwd'"):
        built("drag_bench", tmp_path / "out", root=str(tmp_path))
    meta.write_bytes(meta.read_bytes()[:9])
    with pytest.raises(UserError, match=r"meta_data_region\.pkl: is truncated"):
        built("drag_bench", tmp_path / "out", root=str(tmp_path))
    with pytest.raises(UserError, match=r"there is no .*dragbench-sr.* Google Drive"):
        built("drag_bench", tmp_path / "out", root=str(tmp_path), subset="sr")
    (tmp_path / "dragbench-sr" / "art_0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"dragbench-sr: holds no sample"):
        built("drag_bench", tmp_path / "out", root=str(tmp_path), subset="sr")


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a b", "a.b"):
        bench_sample(tmp_path / "dragbench-sr" / name, picture(8, 8, box(8, 8, 0, 0, 2, 2)), [], [], None)
    with pytest.raises(UserError, match=r"has the same name as .* Rename"):
        bench_module.sample_folders(tmp_path, "sr")
