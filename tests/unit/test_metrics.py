"""Metrics against reference implementations, on hand-made cases, and at their edges."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import linalg
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from editfrontier.base.errors import UserError
from editfrontier.scoring.metrics import (
    METRICS,
    PSNR_CAP,
    alignment,
    attributes,
    background,
    distribution,
    get_metric,
    quality,
    truth,
)
from editfrontier.scoring.metrics.identity import identity_similarity


def _images(n: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    noise = 0.1 * torch.rand(n, 3, size, size, generator=generator)
    return ((smooth + noise) / 1.1 * 255).round().to(torch.uint8)


def _unit(n: int, d: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


A, B = _images(seed=1), _images(seed=2)
EVERYWHERE = torch.ones(4, 1, 32, 32, dtype=torch.bool)


def _hwc(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def test_registry_describes_every_metric_of_the_contract() -> None:
    names = {"id_sim", "clip_cos", "clip_score", "clip_directional", "success", "quality", "artifact", "fid", "kid"}
    names |= {"lpips_bg_masked", "lpips_bg_spatial", "psnr_bg", "ssim_bg", "l2_true", "lpips_true", "changed_area"}
    names |= {"forwards", "seconds"}
    assert names <= set(METRICS)
    assert all(metric.name == name and metric.description and metric.source for name, metric in METRICS.items())
    assert [name for name, metric in METRICS.items() if not metric.per_image] == ["fid", "kid"]
    assert METRICS["psnr_bg"].direction == "higher"
    assert METRICS["fid"].direction == "lower"


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="clip_score"):
        get_metric("clip_scor")


def test_psnr_equals_skimage_per_image_and_is_not_pooled() -> None:
    """To 5e-6 dB: torchmetrics takes the logarithm of the range in float32."""
    edited = A.clone()
    edited[0] = (A[0].int() + 3).clamp(0, 255).to(torch.uint8)
    edited[1] = B[1]
    got = background.psnr_background(A, edited, EVERYWHERE)
    for i in (0, 1):
        assert got[i].item() == pytest.approx(
            peak_signal_noise_ratio(_hwc(A[i]), _hwc(edited[i]), data_range=255), abs=5e-6
        )
    alone = background.psnr_background(A[:1], edited[:1], EVERYWHERE[:1])
    assert alone[0] == got[0]


def test_psnr_counts_background_pixels_only() -> None:
    area = EVERYWHERE.clone()
    area[:, :, :16] = False
    edited = A.clone()
    edited[:, :, :16] = B[:, :, :16]
    assert (background.psnr_background(A, edited, area) == PSNR_CAP).all()
    edited[:, :, 16:] = (A[:, :, 16:].int() - 2).clamp(0, 255).to(torch.uint8)
    inside = (A[:, :, 16:].double() - edited[:, :, 16:].double()).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(background.psnr_background(A, edited, area), 10 * torch.log10(255.0**2 / inside))


def test_no_background_is_nan_not_a_number() -> None:
    none = torch.zeros_like(EVERYWHERE)
    assert background.psnr_background(A, B, none).isnan().all()
    assert background.ssim_background(A, B, none).isnan().all()
    assert background.lpips_spatial(torch.rand(4, 32, 32), none, 2).isnan().all()


def test_ssim_map_equals_skimage_where_the_window_is_inside() -> None:
    """On the outer 5 pixels torchmetrics reflects the image at the centres of its edge pixels, skimage beside them."""
    ours = background.ssim_map(A, B)
    assert ours.shape == (4, 32, 32)
    for i in range(4):
        _, reference = structural_similarity(
            _hwc(A[i]).astype(np.float64), _hwc(B[i]).astype(np.float64), data_range=255, channel_axis=2,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
        )  # fmt: skip
        inside = slice(5, -5)
        np.testing.assert_allclose(ours[i, inside, inside].numpy(), reference.mean(axis=2)[inside, inside], atol=1e-12)


def test_ssim_of_an_unchanged_background_is_one_next_to_any_edit() -> None:
    area = EVERYWHERE.clone()
    area[:, :, 8:20, 8:20] = False
    edited = torch.where(area, A, B)
    torch.testing.assert_close(background.ssim_background(A, edited, area), torch.ones(4, dtype=torch.float64))
    edited[:, :, 25:, 25:] = B[:, :, 25:, 25:]
    assert (background.ssim_background(A, edited, area) < 0.99).all()


def test_fill_outside_hides_the_edit_exactly() -> None:
    area = EVERYWHERE.clone()
    area[:, :, 4:9] = False
    edited = torch.where(area, A, B)
    assert torch.equal(background.fill_outside(A, area), background.fill_outside(edited, area))
    assert (background.fill_outside(A, area)[:, :, 4:9] == 128).all()


def test_erosion_shrinks_from_the_mask_and_not_from_the_border() -> None:
    area = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    area[0, 0, 4, 4] = False
    eroded = background.erode(area, 2)
    expected = torch.ones(9, 9, dtype=torch.bool)
    expected[2:7, 2:7] = False
    assert torch.equal(eroded[0, 0], expected)
    assert torch.equal(background.erode(area, 0), area)
    assert background.erosion_radius(256) == 16
    assert background.erosion_radius(64) == 4


def test_lpips_spatial_ignores_what_lies_within_the_radius() -> None:
    area = EVERYWHERE.clone()
    area[:, :, :, :10] = False
    distance = torch.zeros(4, 32, 32)
    distance[:, :, :13] = 1.0  # leakage over three pixels beyond the mask
    assert background.lpips_spatial(distance, area, 3).abs().max() == 0
    assert background.lpips_spatial(distance, area, 2).min() > 0


def test_clip_score_clips_each_image_and_not_the_mean() -> None:
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    text = torch.tensor([[0.6, 0.8], [-0.6, 0.8]])
    cosine = alignment.clip_cosine(image, text)
    torch.testing.assert_close(cosine, torch.tensor([0.6, -0.6], dtype=torch.float64), rtol=0, atol=1e-7)
    torch.testing.assert_close(
        alignment.clip_score(cosine), torch.tensor([1.5, 0.0], dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_clip_directional_by_hand_and_at_its_edges() -> None:
    source, text = _unit(3, 8, 1), _unit(3, 8, 2)
    move = _unit(3, 8, 3) - text
    edited = source + 0.5 * move
    edited[1] = source[1] - 0.5 * move[1]
    edited[2] = source[2] + 1e-6  # rounding between batches is no change
    got = alignment.clip_directional(source, edited, text, text + move)
    torch.testing.assert_close(got, torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)
    assert alignment.clip_directional(source, edited, text, text.clone()).isnan().all()


def test_identity_of_one_image_is_one() -> None:
    e = _unit(5, 16, 4)
    torch.testing.assert_close(identity_similarity(e, e), torch.ones(5, dtype=torch.float64), atol=1e-6, rtol=0)
    assert identity_similarity(e, -e).max() < -0.999


def test_success_asks_for_the_desired_value_of_the_right_column() -> None:
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.5, 0.4], [0.9, 0.9]])
    got = attributes.success(p, torch.tensor([0, 1, 0, -1]), torch.tensor([True, True, False, True]))
    assert got[:3].tolist() == [1.0, 0.0, 0.0]
    assert got[3].isnan()


def test_artifact_threshold_bounds_the_rate_on_new_sources() -> None:
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(400):
        scores = torch.rand(96, generator=generator)
        threshold = quality.artifact_threshold(scores)
        assert quality.artifact(scores, threshold).mean() <= 0.05
        rates.append(1 - threshold)  # the exact rate of a uniform score
    assert np.mean(rates) == pytest.approx(4 / 97, abs=0.004)  # rank 93 of 96
    assert quality.artifact_threshold(torch.tensor([0.1, 0.7])) == pytest.approx(0.7)


def test_l2_and_changed_area_by_hand() -> None:
    black, white = torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    assert truth.l2_distance(black, white).item() == 1
    half = black.clone()
    half[:, :, :2] = 51
    assert truth.l2_distance(black, half).item() == pytest.approx(math.sqrt(0.5 * 0.04))
    half[:, 0, 2] = 25  # at the threshold: not changed
    half[:, 2, 3] = 26
    assert truth.changed_area(black, half).item() == pytest.approx(0.75)
    assert truth.changed_area(half, black).item() == pytest.approx(0.75)


def _features(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / math.sqrt(d) + shift).astype(np.float32)


class _Identity(nn.Module):
    num_features = 12

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).double()


@pytest.mark.parametrize("n", [8, 60])
def test_fid_equals_torchmetrics_and_scipy(n: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = _features(n, 12, 1), _features(50, 12, 2, 0.3)
    got = distribution.fid(x, y)
    reference = FrechetInceptionDistance(feature=_Identity())
    reference.set_dtype(torch.float64)
    reference.update(torch.from_numpy(y).reshape(-1, 3, 2, 2), real=True)
    reference.update(torch.from_numpy(x).reshape(-1, 3, 2, 2), real=False)
    assert got == pytest.approx(float(reference.compute()), rel=1e-6)
    sx, sy = (np.cov(a.astype(np.float64), rowvar=False) for a in (x, y))
    cross = np.real(linalg.sqrtm(sx @ sy))
    gap = x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)
    assert got == pytest.approx(float(gap @ gap + np.trace(sx + sy - 2 * cross)), rel=1e-4)


def test_fid_of_a_set_with_itself_is_zero_and_grows_with_a_shift() -> None:
    x = _features(80, 6, 3)
    assert distribution.fid(x, x) == pytest.approx(0, abs=1e-6)
    assert distribution.fid(x + 2, x) == pytest.approx(4 * 6, rel=1e-5)


def test_fid_under_weights_equals_fid_of_the_repeated_set() -> None:
    x, y = _features(30, 6, 1), _features(40, 6, 2)
    counts = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=3)
    got = distribution.FidReference.fit(y).distances(x, counts)
    for row, value in zip(counts, got, strict=True):
        assert value == pytest.approx(distribution.fid(np.repeat(x, row, axis=0), y), rel=1e-9)


def test_kid_equals_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = _features(40, 12, 1), _features(40, 12, 2, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = KernelInceptionDistance(feature=_Identity(), subsets=1, subset_size=40)
    reference.update(torch.from_numpy(y).reshape(-1, 3, 2, 2), real=True)
    reference.update(torch.from_numpy(x).reshape(-1, 3, 2, 2), real=False)
    value = float(reference.compute()[0])
    assert distribution.kid(x, y) == pytest.approx(value, rel=1e-6)
    assert distribution.kid(x, y, subsets=3) == pytest.approx(value, rel=1e-6)


def test_kid_subsets_are_seeded_and_agree_with_all_pairs() -> None:
    x, y = _features(100, 8, 1), _features(120, 8, 2, 0.2)
    first = distribution.kid(x, y, subsets=200, subset_size=50, seed=7)
    assert first == distribution.kid(x, y, subsets=200, subset_size=50, seed=7)
    assert first != distribution.kid(x, y, subsets=200, subset_size=50, seed=8)
    assert first == pytest.approx(distribution.kid(x, y), rel=0.1)
    with pytest.raises(ValueError, match="subset_size"):
        distribution.kid(x, y, subsets=2, subset_size=101)


def test_kid_is_unbiased_between_equal_distributions() -> None:
    rng = np.random.default_rng(0)
    values = [distribution.kid(rng.standard_normal((20, 4)), rng.standard_normal((20, 4))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))


def test_set_metrics_need_two_images() -> None:
    with pytest.raises(ValueError, match="2 images"):
        distribution.fid(_features(1, 4, 0), _features(9, 4, 0))
    with pytest.raises(ValueError, match="2 images"):
        distribution.kid(_features(9, 4, 0), _features(1, 4, 0))
