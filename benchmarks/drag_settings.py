"""Which settings of DragFlow suit the micro model: a grid on rendered drags of a seed that no table and no test uses.

Run by hand from the root of the repository (about twenty minutes on one core):

    OMP_NUM_THREADS=1 python benchmarks/drag_settings.py

Relocations, turns and deformations in equal shares. What a setting is chosen by was fixed before the first run: mean
IoU with the target (0 where the object is lost) plus the mean of IF bg (1 - LPIPS of the background), the two sides
of the trade-off with equal weights; among equals the one with fewer forwards. Each stage starts from the best of the
stage before it. --finalists compares what came out well on the relocations alone of three times as many drags.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editfrontier.data.language import load_language
from editfrontier.data.regions import Region
from editfrontier.diffusion.sampling import ForwardCounter
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.microworld.drags import KINDS, Drag, sample_drags
from editfrontier.models.loading import load_pipeline
from editfrontier.scoring.drags import found_values, look_values
from editfrontier.scoring.evaluators.lpips import LpipsEvaluator
from editfrontier.scoring.evaluators.segmentation import SegmentationEvaluator

SEED = 5151

Setting = dict[str, Any]

COMMON: Setting = {"feature_blocks": "0-1-2", "kv_double": "1", "kv_single": "none", "update": "adam"}
STAGES: tuple[tuple[Setting, ...], ...] = (
    tuple(
        {"skipped_steps": skipped, "learning_rate": rate} for skipped, rate in product((13, 16, 19), (0.01, 0.02, 0.04))
    ),
    ({}, *({"feature_blocks": blocks} for blocks in ("0-1", "1-2", "2"))),
    ({}, {"kv_double": "none"}, {"kv_double": "0-1-2"}, {"background": "trajectory"}),
    ({}, *({"feature_points": points} for points in ("input", "output"))),
    ({}, {"update": "plain", "learning_rate": 1000.0}, {"update": "normalized"}),
)
"""What each stage tries on top of what was best before it."""
PLAIN: Setting = {"kv_double": "none", "background": "trajectory", "update": "plain", "learning_rate": 1000.0}
FINALISTS: tuple[Setting, ...] = (
    *(PLAIN | {"skipped_steps": skipped} for skipped in (10, 13, 16)),
    *(PLAIN | {"skipped_steps": 16, "learning_rate": rate} for rate in (2000.0, 3000.0)),
    *(PLAIN | {"skipped_steps": skipped, "kv_double": "1"} for skipped in (13, 16)),
    *(PLAIN | {"skipped_steps": skipped, "update": "adam", "learning_rate": 0.02} for skipped in (10, 13)),
)


def pixels(arrays: list[Any]) -> Tensor:
    """Images of one size as uint8 [B, 3, H, W]."""
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def batch_of(drags: list[Drag]) -> EditBatch:
    """Return drags as a batch for an editor."""
    masks = torch.from_numpy(np.stack([drag.mask for drag in drags]))[:, None].float()
    return EditBatch(
        case_ids=[f"drag-{number}" for number in range(len(drags))],
        images=pixels([drag.before for drag in drags]).float() / 127.5 - 1.0,
        masks=masks,
        source_captions=[drag.source_caption for drag in drags],
        target_captions=[drag.target_caption for drag in drags],
        instructions=[drag.instruction.text for drag in drags],
        generators=[torch.Generator().manual_seed(number) for number in range(len(drags))],
        drags=[
            [Region(drag.kind, drag.source_mask, np.array(drag.affine), drag.target_mask, drag.points, drag.anchor)]
            for drag in drags
        ],
        backgrounds=1.0 - masks,
    )


class Bench:
    """Runs settings on the same drags and prints a row for each."""

    def __init__(self, models: Path, count: int, seed: int, kinds: tuple[str, ...] = KINDS) -> None:
        self.drags = [drag for drag in sample_drags(count, seed, load_language()) if drag.kind in kinds]
        self.batch = batch_of(self.drags)
        self.model = load_pipeline("flux", models / "flux")
        self.segmentation = SegmentationEvaluator.load(models / "segmentation")
        self.lpips = LpipsEvaluator.load(models / "lpips")
        self.counter = ForwardCounter()
        self.counter.attach(self.model.transformer)

    def score(self, setting: Setting) -> tuple[float, float]:
        """Edit, print a row, and return (IoU plus IF bg, minus the forwards of a case)."""
        editor = get_editor("drag_flow")
        self.counter.samples, started = 0, time.perf_counter()
        with torch.no_grad():
            result = editor.edit(self.model, self.batch, make_params(editor, setting))
        assert isinstance(result, Measured)
        forwards, seconds = self.counter.samples / len(self.drags), time.perf_counter() - started
        return self.judged(result.images, str(setting), forwards, seconds), -forwards

    def judged(self, images: Tensor, name: str, forwards: float = 0.0, seconds: float = 0.0) -> float:
        """Print the row of images [B, 3, H, W] in [-1, 1], and return IoU plus IF bg."""
        assert self.batch.drags is not None
        assert self.batch.backgrounds is not None
        source = pixels([drag.before for drag in self.drags])
        edited = ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        found = found_values(self.segmentation, source, edited, self.batch.drags)
        looks = look_values(self.lpips, source, edited, self.batch.drags, self.batch.backgrounds > 0)
        kinds = np.array([drag.kind for drag in self.drags])
        iou, held = found["iou_target"].mean().item(), looks["if_bg"].mean().item()
        moved = found["moved_towards"].numpy()[kinds == "relocation"]
        parts = " ".join(f"{found['iou_target'][torch.from_numpy(kinds == kind)].mean():10.3f}" for kind in KINDS)
        numbers = (
            f"{iou + held:7.3f} {iou:6.3f} {held:6.3f} {parts} {np.nanmean(moved):6.2f} {forwards:8.0f} {seconds:8.1f}"
        )
        print(f"{numbers}  {name}", flush=True)
        return iou + held


def main() -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("resources/micro"))
    parser.add_argument("--count", type=int, default=18, help="drags; kinds and grades take turns")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--finalists", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    count, kinds = (3 * arguments.count, KINDS[:1]) if arguments.finalists else (arguments.count, KINDS)
    bench = Bench(arguments.models, count, arguments.seed, kinds)
    print(
        f"{'sum':>7} {'IoU':>6} {'IF bg':>6} "
        + " ".join(f"{kind[:10]:>10}" for kind in KINDS)
        + "  moved forwards  seconds  setting"
    )
    for name in ("before", "after"):
        images = pixels([getattr(drag, name) for drag in bench.drags]).float() / 127.5 - 1.0
        bench.judged(images, f"the {'source' if name == 'before' else 'true result'}")
    best, scores = COMMON, {}
    for stage in (FINALISTS,) if arguments.finalists else STAGES:
        for setting in (best | change for change in stage):
            if str(setting) not in scores:
                scores[str(setting)] = (bench.score(setting), setting)
        best = max(scores.values(), key=lambda pair: pair[0])[1]
        print(f"best: {best}", flush=True)


if __name__ == "__main__":
    main()
