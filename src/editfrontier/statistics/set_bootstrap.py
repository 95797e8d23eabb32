"""FID and KID of all variants of a task under the resamples that the other metrics use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from editfrontier.base.seeding import stable_seed
from editfrontier.scoring.metrics.distribution import KID_SCALE, FidReference, KidReference, fid
from editfrontier.statistics import bootstrap
from editfrontier.statistics.bootstrap import Array
from editfrontier.statistics.taskscores import REFERENCE, Settings, TaskScores, task_weights

SETS = ("fid", "kid")
"""The metrics of sets."""

NO_IMAGES = "the reference is published statistics, and this metric needs its images"
NO_ROW = "the reference is published statistics, and its own row needs images"


class SetBootstrap:
    """FID and KID of variants and their resamples, each computed once for the summary and the differences.

    A part of the reference images as large as the set of cases (at most half) stands aside as the control row
    `reference`; all rows are compared with the rest, so that the control tells what equal distributions give.
    Published moments of a reference serve FID alone: no control can stand aside, and KID needs the images. `reason`
    says so of each value that is missing for it.
    """

    def __init__(self, data: TaskScores, settings: Settings) -> None:
        self.data, self.level = data, settings.level
        self.names: tuple[str, ...] = ()
        if (data.reference is None and data.moments is None) or not data.features:
            return
        self.names = SETS
        self.weights = task_weights(data, settings)[: settings.set_resamples]
        if len(self.weights) < settings.set_resamples:
            extra = settings.set_resamples - len(self.weights)
            seed = stable_seed("set-bootstrap", data.task, settings.seed)
            self.weights = np.concatenate([self.weights, bootstrap.cluster_weights(data.clusters, extra, seed)])
        self._cache: dict[tuple[str, bytes], dict[str, tuple[float, Array]] | None] = {}
        self.kid: KidReference | None = None
        self.rest: npt.NDArray[np.floating] | None = None
        if data.reference is None:
            assert data.moments is not None
            self.names = ("fid",)
            self.held_out = np.zeros((0, len(data.moments[0])))
            self.fid = FidReference.of_moments(*data.moments)
            return
        rng = np.random.default_rng(stable_seed("reference-split", data.task, settings.seed))
        order = rng.permutation(len(data.reference))
        size = min(max(len(rows) for rows, _ in data.features.values()), len(order) // 2)
        self.held_out, self.rest = data.reference[order[:size]], data.reference[order[size:]]
        self.fid, self.kid = FidReference.fit(self.rest), KidReference.fit(self.rest)
        self.reference_weights = rng.multinomial(size, np.full(size, 1 / size), size=settings.set_resamples)

    def reason(self, variant: str, metric: str) -> str:
        """Return why no variant at all, or not the control row `reference`, has this metric; "" if it may have it."""
        if not self.names or self.kid is not None:
            return ""
        return NO_IMAGES if metric not in self.names else NO_ROW if variant == REFERENCE else ""

    def estimate(
        self, variant: str, common: npt.NDArray[np.intp] | None = None
    ) -> dict[str, tuple[float, Array]] | None:
        """Metric -> (point, resamples [R]) of a variant, on the cases `common` only if given; None below 2 images."""
        key = variant, b"" if common is None else common.tobytes()
        if key not in self._cache:
            self._cache[key] = self._estimate(variant, common)
        return self._cache[key]

    def _estimate(self, variant: str, common: npt.NDArray[np.intp] | None) -> dict[str, tuple[float, Array]] | None:
        if variant == REFERENCE and not len(self.held_out):
            return None
        if variant == REFERENCE:
            features, weights = self.held_out, self.reference_weights.astype(np.float64)
        elif variant in self.data.features:
            rows, features = self.data.features[variant]
            if common is not None:
                kept = np.isin(rows, common)
                rows, features = rows[kept], features[kept]
            weights = self.weights[:, self.data.cluster[rows]]
        else:
            return None
        if len(features) < 2:
            return None
        one = np.ones((1, len(features)))
        resamples = self.fid.distances(features, weights)
        if self.kid is None or self.rest is None:
            return {"fid": (float(self.fid.distances(features, one)[0]), resamples)}
        # A row's own value is torchmetrics'; of KID it has no form for two sets of different sizes.
        point = fid(features, self.rest) if common is None else float(self.fid.distances(features, one)[0])
        kid = np.concatenate([self.kid.distances(features, w) for w in (one, weights)]) * KID_SCALE
        return {"fid": (point, resamples), "kid": (float(kid[0]), kid[1:])}
