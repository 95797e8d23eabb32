"""Whether a drag put its object where it should be; the formulas stand in `drag`, which loads OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from editfrontier.scoring.batch import Batch


def _found(batch: Batch) -> Mapping[str, Tensor]:
    from editfrontier.scoring.drags import found_values

    return found_values(batch.networks["segmentation"], batch.source, batch.edited, batch.inputs("drags"))


def _looks(batch: Batch) -> Mapping[str, Tensor]:
    from editfrontier.scoring.drags import look_values

    background = batch.stacked("background")
    return look_values(batch.networks["lpips"], batch.source, batch.edited, batch.inputs("drags"), background)


def _distances(batch: Batch) -> Mapping[str, Tensor]:
    from editfrontier.scoring.drags import distance_values, queries_of

    queries = queries_of(batch.sources.arrays, batch.ids)
    captions = [case.source_caption for case in batch.cases]
    return distance_values(
        batch.networks["dift"], queries, batch.edited, captions, batch.inputs("drags"), batch.stacked("background")
    )


def _entry(name: str, values: Callable[[Batch], Mapping[str, Tensor]], **fields: Any) -> Metric:
    """Return a metric of cases with drags; `values` gives it together with others of one network."""
    inputs = ("drags", "background")
    return Metric(name=name, compute=lambda batch: batch.once(values)[name], inputs=inputs, about="drags", **fields)


_by_segmentation = partial(_entry, values=_found, needs="segmentation", group="controllability")
_by_lpips = partial(_entry, values=_looks, needs="lpips")
_by_features = partial(
    _entry, values=_distances, needs="dift", group="controllability", direction="lower", range=(0.0, None)
)

METRICS = (
    _by_segmentation(
        name="iou_target",
        label="IoU",
        direction="higher",
        range=(0.0, 1.0),
        description="Intersection over union of the dragged object, as segmented in the edit, and its target; 0 if "
        "it is lost.",
        source="The paper, table 4; the target is the source region under the drag's affine map.",
        paper="iou",
    ),
    _by_segmentation(
        name="centroid_shift",
        label="Mean shift",
        direction="lower",
        range=(0.0, None),
        description="Distance between the centroids of the dragged object, as segmented in the edit, and of its "
        "target region.",
        source="The paper, table 4 (256 pixels).",
        unit="px",
        undefined="the object is not found in the edited image",
        paper="mean_shift",
    ),
    _by_segmentation(
        name="moved_towards",
        label="Moved",
        direction="higher",
        range=(0.0, 1.0),
        description="1 when the object's centroid came nearer to its target's by at least a tenth of the way, else 0.",
        source="As `centroid_shift`; the way is measured between segmentations, so that the source has 0.",
        undefined="the drag hardly moves the centroid, or the object is not found in the source",
        binary=True,
        percent=True,
        decimals=1,
    ),
    _by_segmentation(
        name="object_found",
        label="Found",
        direction="higher",
        range=(0.0, 1.0),
        description="1 when the segmentation finds the dragged object in the edited image, else 0.",
        source="Read it with `centroid_shift`, which is defined for the objects that were found.",
        binary=True,
        percent=True,
        decimals=1,
    ),
    _by_lpips(
        name="if_bg",
        label="IF bg",
        direction="higher",
        range=(None, 1.0),
        group="fidelity",
        description="1 - `lpips_bg_masked` of a drag.",
        source="Image fidelity of DragFlow, arXiv 2510.02253.",
        undefined="the background is empty",
    ),
    _by_lpips(
        name="if_s2t",
        label="IF s2t",
        direction="higher",
        range=(None, 1.0),
        group="fidelity",
        description="1 - LPIPS of the edit and of the source with its region moved, both mid grey outside of the "
        "target region; mean over regions.",
        source="Image fidelity of DragFlow, arXiv 2510.02253.",
    ),
    _by_lpips(
        name="if_s2s",
        label="IF s2s",
        direction="lower",
        range=(None, 1.0),
        group="controllability",
        description="1 - LPIPS of the edit and of the source, both mid grey outside of the source region; mean over "
        "regions; 1 if nothing was edited.",
        source="Image fidelity of DragFlow, arXiv 2510.02253; lower is better there too.",
    ),
    _by_features(
        name="md1",
        label="MD1",
        description="Distance between the target of the region's centroid and its best editable match by diffusion "
        "features.",
        source="DragFlow, arXiv 2510.02253; features of Tang et al. 2023 (timestep 261, 8 noises).",
        unit="px",
    ),
    _by_features(
        name="md2",
        label="MD2",
        description="As MD1, but images and features are resized by nearest neighbour, the match is searched near "
        "either end of the centroid's way, and the distance is in percent of the sides.",
        source="DragFlow, arXiv 2510.02253.",
        unit="%",
    ),
    _by_features(
        name="mean_distance",
        label="Mean distance",
        description="Distance of each handle's target and its best match by diffusion features in the whole image; "
        "mean.",
        source="DragBench, Shi et al. 2024.",
        unit="px",
        undefined="the drag has no handles",
    ),
)
