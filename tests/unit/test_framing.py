"""Pictures of any size to squares, with masks, points and maps."""

from __future__ import annotations

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.framing import Frame, apply, frame_of, safe_name, same_size


def test_a_picture_of_the_size_is_kept_to_the_byte() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for fit in ("crop", "stretch"):
        assert np.array_equal(frame_of((32, 32), 32, fit).image(image), image)


def test_a_crop_is_the_largest_square_around_the_mask_within_the_picture() -> None:
    mask = np.zeros((40, 100), bool)
    assert (frame_of((40, 100), 20, "crop").left, frame_of((40, 100), 20, "crop").width) == (30, 40)
    mask[10:20, 60:70] = True
    assert frame_of((40, 100), 20, "crop", mask).left == 45  # the middle of the mask is at 65
    mask[:] = False
    mask[:, 98:] = True
    assert frame_of((40, 100), 20, "crop", mask).left == 60
    tall = frame_of((100, 40), 20, "crop", mask.T)
    assert (tall.top, tall.left, tall.height, tall.width) == (60, 0, 40, 40)
    assert frame_of((40, 100), 20, "stretch", mask).width == 100


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_points_and_maps_follow_the_pixels(fit: str) -> None:
    """A square and its target, moved on the picture and then framed, or framed and then moved."""
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[32:48, 40:56] = 255
    frame = frame_of((80, 120), 40, fit)  # type: ignore[arg-type]
    centre = frame.points(np.array([[47.5, 39.5]]))[0]
    rows, columns = np.nonzero(frame.image(picture)[..., 0] > 127)
    assert centre == pytest.approx((columns.mean(), rows.mean()), abs=0.05)
    affine = np.array([[0.0, -1.0, 87.0], [1.0, 0.0, -8.0]])
    start = np.array([[41.0, 33.0], [50.0, 40.0]])
    native, framed = frame.points(apply(affine, start)), apply(frame.affine(affine), frame.points(start))
    assert native == pytest.approx(framed)


def test_masks_keep_what_covers_half_of_a_pixel_and_never_vanish() -> None:
    mask = np.zeros((16, 16), bool)
    mask[0:2, 0:4] = True  # half of the first pixel
    mask[8:9, 8:12] = True  # a quarter of another one
    made = frame_of((16, 16), 4, "stretch").mask(mask)
    assert made.sum() == 1 and made[0, 0]
    thin = np.zeros((16, 16), bool)
    thin[5, 5] = True
    assert np.argwhere(frame_of((16, 16), 4, "stretch").mask(thin)).tolist() == [[1, 1]]
    assert not frame_of((16, 16), 4, "stretch").mask(np.zeros((16, 16), bool)).any()
    with pytest.raises(ValueError, match="expected a picture"):
        frame_of((16, 16), 4, "crop").mask(np.zeros((16, 8), bool))


def test_names() -> None:
    assert safe_name(["animals", "JH_2023-09-14 1820é"]) == "animals-JH_2023-09-14-1820-"


def test_a_mask_of_another_size_is_named() -> None:
    with pytest.raises(UserError, match=r"m\.png: the mask is 6x4 but its image is 4x6 pixels"):
        same_size(np.zeros((4, 6), bool), (6, 4), "m.png")


def test_a_frame_survives_as_text_and_frames_larger_copies_alike() -> None:
    frame = frame_of((40, 60), 20, "crop", np.eye(40, 60, dtype=bool))
    assert Frame.parse(frame.text("photos/ü.png")) == (frame, "photos/ü.png")
    ramp = np.linspace(0, 255, 60, dtype=np.uint8)[None, :, None].repeat(40, 0).repeat(3, 2)
    assert np.array_equal(frame.scaled_image(ramp), frame.image(ramp))
    large = ramp.repeat(3, 0).repeat(3, 1)
    assert np.abs(frame.scaled_image(large).astype(int) - frame.image(ramp)).max() <= 2
