"""Measure how fast the micro world renders portraits and scenes on all cores. Run by hand, on an idle machine."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor

IMAGES = 20_000
CHUNK = 500


def _portraits(seed: int) -> None:
    import torch

    from editfrontier.microworld.portrait_painter import render_portraits
    from editfrontier.microworld.portraits import sample_portraits

    torch.set_num_threads(1)
    render_portraits(sample_portraits(CHUNK, seed=seed))


def _scenes(seed: int) -> None:
    import torch

    from editfrontier.microworld.scenes import render_scenes, sample_scenes

    torch.set_num_threads(1)
    render_scenes(sample_scenes(CHUNK, seed=seed))


def main() -> None:
    """Print the seconds that each kind of image takes."""
    cores = os.cpu_count() or 1
    for name, work in (("portraits", _portraits), ("scenes", _scenes)):
        with ProcessPoolExecutor(cores) as pool:
            start = time.perf_counter()
            list(pool.map(work, range(IMAGES // CHUNK)))
            print(f"{name}: {IMAGES} images in {time.perf_counter() - start:.1f} s on {cores} cores")


if __name__ == "__main__":
    main()
