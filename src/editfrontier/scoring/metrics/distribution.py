"""FID and KID from cached features, and their bootstrap over cases. Features are [N,D] arrays, one row an image."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from editfrontier.scoring.metrics.metric import Metric

Array = npt.NDArray[np.float64]

KID_SCALE = 1000.0


def fid(features: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float:
    """Frechet distance between Gaussians fitted to two feature sets [n,D] and [m,D], n, m >= 2, by torchmetrics.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), unbiased covariances (Heusel et al. 2017).
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(features), len(reference)) < 2:
        raise ValueError(f"a covariance needs at least 2 images, got {len(features)} and {len(reference)}")
    return float(_of_features(FrechetInceptionDistance, features, reference).compute())


def _of_features(
    metric: Callable[..., Any], features: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], **options: Any
) -> Any:
    """Return a metric of torchmetrics that takes images, with features in their place."""
    import torch

    as_given = torch.nn.Identity()
    as_given.num_features = torch.tensor(features.shape[1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        state = metric(feature=as_given, **options).set_dtype(torch.float64)
    for values, real in ((reference, True), (features, False)):
        state.update(torch.from_numpy(np.array(values, dtype=np.float64)), real=real)
    return state


@dataclass(frozen=True)
class FidReference:
    """Gaussian of the reference set and the square root of its covariance, computed once for all variants."""

    mean: Array
    root: Array
    trace: float

    @classmethod
    def fit(cls, reference: npt.NDArray[np.floating]) -> FidReference:
        """Fit to features [m,D]; raises ValueError when m < 2."""
        x = np.asarray(reference, dtype=np.float64)
        if len(x) < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {len(x)}")
        mean = x.mean(axis=0)
        centred = x - mean
        return cls.of_moments(mean, centred.T @ centred / (len(x) - 1))

    @classmethod
    def of_moments(cls, mean: npt.NDArray[np.floating], covariance: npt.NDArray[np.floating]) -> FidReference:
        """Take a mean [D] and a covariance [D,D], such as published ones; the covariance is symmetric."""
        values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
        root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
        return cls(np.asarray(mean, dtype=np.float64), root, float(values.clip(min=0).sum()))

    def distances(self, features: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> Array:
        """FID of features [n,D] under each row of case weights [R,n] (counts of a resample); returns [R].

        NaN for a resample that holds fewer than 2 images. tr (S1 S2)^(1/2) is the sum of square roots of the
        eigenvalues of S2^(1/2) S1 S2^(1/2), which is symmetric, so no matrix square root of a product is needed; the
        smaller of the D x D and the n x n form is decomposed.
        """
        x = np.asarray(features, dtype=np.float64)
        if len(x) < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {len(x)}")
        w = np.asarray(weights, dtype=np.float64)
        total = np.where(w.sum(axis=1) >= 2, w.sum(axis=1), np.nan)
        centre = x.mean(axis=0)
        x = x - centre  # so that the subtractions below cancel little
        means = w @ x / total[:, None]
        traces = (w @ (x**2).sum(axis=1) - total * (means**2).sum(axis=1)) / (total - 1)
        projected = x @ self.root
        gram = projected @ projected.T
        crosses = np.full(len(w), np.nan)
        for row in np.flatnonzero(~np.isnan(total)):
            kept = np.flatnonzero(w[row])
            scale = np.sqrt(w[row, kept] / (total[row] - 1))
            if len(kept) < x.shape[1]:
                toward = gram @ w[row] / total[row]
                inner = (
                    gram[np.ix_(kept, kept)] - toward[kept, None] - toward[None, kept] + w[row] @ toward / total[row]
                )
                matrix = inner * scale[:, None] * scale
            else:
                z = (projected[kept] - means[row] @ self.root) * scale[:, None]
                matrix = z.T @ z
            crosses[row] = np.sqrt(np.linalg.eigvalsh(matrix).clip(min=0)).sum()
        gaps = ((means + centre - self.mean) ** 2).sum(axis=1)
        return (gaps + traces + self.trace - 2 * crosses).clip(min=0.0)


def polynomial_kernel(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Array:
    """(a.b / D + 1)^3 for all pairs of rows, float64 [n,m] (Binkowski et al. 2018)."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def kid(
    features: npt.NDArray[np.floating],
    reference: npt.NDArray[np.floating],
    subsets: int | None = None,
    subset_size: int | None = None,
    seed: int = 0,
) -> float:
    """Unbiased squared MMD between two feature sets, not scaled; may be negative.

    subsets: None takes all pairs at once, the limit of infinitely many subsets: same expectation, no noise of its own.
    A number takes the mean over so many seeded random subsets of `subset_size` images of each set, as published; by
    torchmetrics, which has no other form.
    """
    if len(features) < 2 or len(reference) < 2:
        raise ValueError(f"KID needs at least 2 images on each side, got {len(features)} and {len(reference)}")
    if subsets is None:
        return float(KidReference.fit(reference).distances(features, np.ones((1, len(features))))[0])
    size = min(len(features), len(reference)) if subset_size is None else subset_size
    if not 2 <= size <= min(len(features), len(reference)):
        raise ValueError(f"subset_size {size} does not fit sets of {len(features)} and {len(reference)} images")
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        metric = _of_features(KernelInceptionDistance, features, reference, subsets=subsets, subset_size=size)
        return float(metric.compute()[0])


@dataclass(frozen=True)
class KidReference:
    """Reference features and the mean kernel among them, computed once for all variants."""

    features: Array
    within: float

    @classmethod
    def fit(cls, reference: npt.NDArray[np.floating]) -> KidReference:
        """Fit to features [m,D], m >= 2."""
        y = np.asarray(reference, dtype=np.float64)
        kernel = polynomial_kernel(y, y)
        m = len(y)
        return cls(y, float((kernel.sum() - np.trace(kernel)) / (m * (m - 1))))

    def distances(self, features: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> Array:
        """Unbiased squared MMD of features [n,D] under each row of case weights [R,n]; returns [R].

        Pairs of an image with itself are left out also when a resample holds it several times, which keeps the
        estimate free of the bias that duplicates would bring. NaN for a resample of one image only: it has no pairs.
        """
        x = np.asarray(features, dtype=np.float64)
        w = np.asarray(weights, dtype=np.float64)
        among = polynomial_kernel(x, x)
        np.fill_diagonal(among, 0.0)
        across = polynomial_kernel(x, self.features).mean(axis=1)
        total = w.sum(axis=1)
        pairs = total**2 - (w**2).sum(axis=1)
        pairs = np.where(pairs > 0, pairs, np.nan)
        return (
            ((w @ among) * w).sum(axis=1) / pairs + self.within - 2 * (w @ across) / np.where(total > 0, total, np.nan)
        )


METRICS = (
    Metric(
        name="fid",
        label="FID",
        direction="lower",
        range=(0.0, None),
        group="quality",
        description="Frechet distance between Gaussians fitted to features of the edited images and of reference "
        "images. Biased upward at small n: compare with the rows source and reference.",
        source="Heusel et al. 2017; covariances in float64.",
        needs="features",
        per_image=False,
        paper="fid",
    ),
    Metric(
        name="kid",
        label="KID",
        direction="lower",
        range=(None, None),
        group="quality",
        description="1000 times the unbiased squared maximum mean discrepancy of features with a cubic kernel; may be "
        "negative.",
        source="Binkowski et al. 2018.",
        unit="1e-3",
        needs="features",
        per_image=False,
    ),
)
