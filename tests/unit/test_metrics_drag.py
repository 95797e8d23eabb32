"""Drag metrics on hand-made masks and features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from editfrontier.data.regions import Region, warp_mask
from editfrontier.scoring.drags import (
    distance_values,
    query_features,
)
from editfrontier.scoring.evaluators.segmentation import without_specks
from editfrontier.scoring.metrics import drag
from metrics_drag_fixture import SHIFT, SIZE, Pixels, picture, region, square

# Regions --------------------------------------------------------------------------------------------------------------


def test_iou_and_centroid_of_squares() -> None:
    found = torch.from_numpy(np.stack([square(4, 8), square(7, 8), square(20, 20), np.zeros((SIZE, SIZE), bool)]))
    target = torch.from_numpy(np.stack([square(4, 8)] * 4))
    assert drag.iou(found, target).tolist() == pytest.approx([1.0, 18 / 54, 0.0, 0.0])
    assert drag.centroid(found)[1].tolist() == [9.5, 10.5]
    shift = drag.centroid_shift(found, target)
    assert shift[:3].tolist() == pytest.approx([0.0, 3.0, (16**2 + 12**2) ** 0.5])
    assert shift[3].isnan()


def test_moved_towards_needs_a_tenth_of_the_way_and_a_way() -> None:
    before = torch.from_numpy(np.stack([square(4, 8)] * 5))
    target = torch.from_numpy(np.stack([square(14, 8)] * 4 + [square(4, 8)]))
    empty = np.zeros((SIZE, SIZE), bool)
    found = torch.from_numpy(np.stack([square(4, 8), square(5, 8), square(14, 8), empty, square(9, 9)]))
    found[0, 8, 10] = True  # jitter: 0.18 pixels of 10
    assert drag.moved_towards(before, found, target).tolist()[:4] == [0.0, 1.0, 1.0, 0.0]
    assert drag.moved_towards(before, found, target)[4].isnan()
    assert drag.moved_towards(torch.zeros_like(before), found, target).isnan().all()


def test_a_copy_counts_at_both_places_and_specks_do_not() -> None:
    mask = torch.from_numpy(square(4, 8) | square(20, 20))
    mask[0, 0] = True
    kept = without_specks(mask)
    assert not kept[0, 0]
    assert torch.equal(kept, torch.from_numpy(square(4, 8) | square(20, 20)))
    assert not without_specks(torch.zeros(4, 4, dtype=torch.bool)).any()


def test_warp_by_whole_pixels_is_exact_and_the_region_lies_on_top() -> None:
    source = picture((4, 8))
    moved = drag.warped(source, SHIFT)
    assert torch.equal(moved[:, 4:, 10:], source[:, :-4, :-10])
    composed = drag.moved_source(source, [region()])
    assert torch.equal(composed, picture((4, 8), (14, 12)))


# Points on features ---------------------------------------------------------------------------------------------------


def test_similarity_equals_the_cosine_of_resized_features() -> None:
    generator = torch.Generator().manual_seed(0)
    features, queries = torch.randn(70, 5, 6, generator=generator), torch.randn(3, 70, generator=generator)
    resized = functional.interpolate(features[None], (20, 24), mode="bilinear", align_corners=False)[0]
    expected = functional.cosine_similarity(queries[:, :, None, None], resized[None], dim=1)
    torch.testing.assert_close(drag.similarity(queries, features, (20, 24), part=16), expected, atol=1e-5, rtol=1e-5)


def test_discs_reach_half_of_the_diagonal_from_both_ends() -> None:
    starts, ends = torch.tensor([[4.0, 8.0], [5.0, 5.0]]).double(), torch.tensor([[15.0, 8.0], [5.0, 5.0]]).double()
    discs = drag.search_discs(starts, ends, (SIZE, SIZE))
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    radius = 11 / 2**0.5
    expected = (((x - 4) ** 2 + (y - 8) ** 2) < radius**2) | (((x - 15) ** 2 + (y - 8) ** 2) < radius**2)
    assert torch.equal(discs[0], expected)
    assert discs[1].nonzero().tolist() == [[5, 5]]  # a handle that stays is searched where it is


def test_discs_are_open_and_hold_their_nearest_pixels() -> None:
    """Way (8, 8): the radius is 8, and the pixels at that very distance do not belong to the disc."""
    starts, ends = torch.tensor([[8.0, 8.0]]).double(), torch.tensor([[16.0, 16.0]]).double()
    discs = drag.search_discs(starts, ends, (SIZE, SIZE))[0]
    assert discs[8, 1] and not discs[8, 0] and not discs[0, 8]
    assert discs[16, 23] and not discs[16, 24] and not discs[24, 16]
    between = torch.tensor([[5.5, 5.5]]).double()
    assert drag.search_discs(between, between, (SIZE, SIZE))[0].nonzero().tolist() == [[5, 5], [5, 6], [6, 5], [6, 6]]


def published_md2(source: Tensor, edited: Tensor, start: list[int], end: list[int]) -> float:
    """MD2 of features [1, C, h, w] by DragFlow's formula, from and to whole pixels."""
    before, after = (functional.interpolate(maps, (SIZE, SIZE), mode="nearest") for maps in (source, edited))
    query = functional.normalize(before[0, :, start[1], start[0]], dim=0)
    cosine = torch.einsum("c,chw->hw", query, functional.normalize(after[0], dim=0))
    first, last = np.array(start), np.array(end)
    radius, best, where = max(np.linalg.norm(last - first) / 2**0.5, 5 / 512 * SIZE), -np.inf, (0, 0)
    for y in range(SIZE):
        for x in range(SIZE):
            near = min(np.linalg.norm((x, y) - first), np.linalg.norm((x, y) - last)) < radius
            if near and float(cosine[y, x]) > best + 1e-6:
                best, where = float(cosine[y, x]), (x, y)
    return float(np.linalg.norm((np.array(where) - last) / SIZE)) * 100


@pytest.mark.parametrize("seed", range(4))
def test_md2_is_that_of_the_published_formula(seed: int) -> None:
    """Features and queries go by nearest neighbour; with bilinear resizing the value would be another."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 1, 12, 8, 8, generator=generator)
    mask = square(4, 8, 7)  # an odd side: the centroid is a pixel
    one = Region("relocation", mask, SHIFT, warp_mask(mask, SHIFT))
    fine = torch.randn(2, 12, 16, 16, generator=generator)
    query = drag.region_queries(fine[0], features[0, 0], one, (SIZE, SIZE))
    assert query.shape == (2, 12)
    editable = torch.ones(SIZE, SIZE, dtype=torch.bool)
    found = drag.feature_distances([query], fine[1], features[1, 0], [one], editable)
    assert found["md2"] == pytest.approx(published_md2(features[0], features[1], [7, 11], [17, 15]))


def test_md2_sees_the_image_at_the_models_size_and_md1_at_its_own() -> None:
    """A pattern that the reduction by nearest neighbour drops is moved: MD1 sees it, MD2 does not."""
    source, edited = (torch.full((1, 3, SIZE, SIZE), 90, dtype=torch.uint8) for _ in range(2))
    colours = torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source[0, :, 9:16:2, 5:12:2] = colours  # odd rows and columns, which a reduction to a half leaves out
    edited[0, :, 13:20:2, 15:22:2] = colours
    chosen = Region("relocation", square(4, 8, 7), SHIFT, warp_mask(square(4, 8, 7), SHIFT))
    backgrounds = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    values = {}
    for side in (SIZE, SIZE // 2):
        judge = Pixels(side)
        queries = query_features(judge, source, [""], [[chosen]])
        values[side] = distance_values(judge, queries, edited, [""], [[chosen]], backgrounds)
    assert values[SIZE]["md1"].item() == values[SIZE // 2]["md1"].item() < 2
    assert values[SIZE]["md2"].item() < 5
    assert values[SIZE // 2]["md2"].item() > 20


def test_distances_are_small_for_a_moved_pattern_and_the_motion_for_one_that_stayed() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(24, SIZE, SIZE, generator=generator)
    moved = features.roll((4, 10), (1, 2))
    chosen = region()
    queries = torch.stack([features[:, 10, 6], features[:, 10, 6], features[:, 9, 5], features[:, 12, 8]])
    editable = torch.from_numpy(square(2, 4, 26))
    # The centroid (6.5, 10.5) lies between pixels; the query is that of a neighbour, 0.71 pixels away.
    good = drag.feature_distances([queries], moved, moved, [chosen], editable)
    assert good == pytest.approx({"md1": 0.5**0.5, "md2": 100 * 0.5**0.5 / SIZE, "mean_distance": 0.0})
    bad = drag.feature_distances([queries], features, features, [chosen], editable)
    assert bad["mean_distance"] == pytest.approx((10**2 + 4**2) ** 0.5)
    assert 10 < bad["md1"] < 12
    assert bad["md2"] == pytest.approx(100 * bad["md1"] / SIZE)
    narrow = drag.feature_distances([queries], features, features, [chosen], torch.from_numpy(square(14, 12)))
    assert narrow["md1"] < 5  # the search does not leave the editable pixels
    without = drag.feature_distances([queries[:2]], moved, moved, [region(points=False)], editable)
    assert (without["md1"], without["md2"]) == (good["md1"], good["md2"])
    assert np.isnan(without["mean_distance"])
