"""Point drag with the shipped model on rendered relocations, judged by the shipped segmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from editfrontier.data.pixels import to_arrays, to_images
from editfrontier.data.regions import Region
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.microworld.drags import sample_drags
from editfrontier.models.loading import load_pipeline
from editfrontier.scoring.drags import found_values
from editfrontier.scoring.evaluators.segmentation import SegmentationEvaluator

MODELS = Path(__file__).parents[2] / "resources" / "micro"
MICRO = {"learning_rate": 0.05, "lora": False, "reference_attention": False}


def test_it_moves_objects_towards_their_targets() -> None:
    """The variant without adapters, which is the weaker one, on the first relocations of every size."""
    drags = [one for one in sample_drags(12, 1234) if one.kind == "relocation"]
    regions = [[Region(one.kind, one.source_mask, np.array(one.affine), one.target_mask, one.points)] for one in drags]
    batch = EditBatch(
        case_ids=[str(number) for number in range(len(drags))],
        images=to_images([one.before for one in drags]),
        masks=None,
        source_captions=[one.source_caption for one in drags],
        target_captions=[""] * len(drags),
        instructions=[""] * len(drags),
        generators=[torch.Generator().manual_seed(number) for number in range(len(drags))],
        drags=regions,
        backgrounds=torch.from_numpy(np.stack([~one.mask for one in drags]))[:, None].float(),
    )
    editor = get_editor("point_drag")
    with torch.no_grad():
        made = editor.edit(load_pipeline("text_to_image", MODELS / "text-to-image"), batch, make_params(editor, MICRO))
    assert isinstance(made, Measured)

    def pixels(arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()

    judge, source = SegmentationEvaluator.load(MODELS / "segmentation"), pixels([one.before for one in drags])
    still, moved = (found_values(judge, source, edited, regions) for edited in (source, pixels(to_arrays(made.images))))
    assert len(drags) == 4
    assert float(still["moved_towards"].mean()) == 0.0
    assert float(moved["moved_towards"].mean()) >= 0.75
    assert float(moved["iou_target"].mean()) > 1.5 * float(still["iou_target"].mean())
