"""Order of convergence of the inversions on the trained flow model, and what a cache of inversions saves.

Run by hand from the root of the repository:

    OMP_NUM_THREADS=2 python benchmarks/inversion_order.py --out results/inversion_order

The first part inverts portraits and samples them back in float32 with more and more steps, and prints the error of the
latents with its slope (log error over log steps: about -1 for Euler, steeper for the others). With --out it also writes
the values as CSV and draws them. The second part makes the edits of one portrait batch that share an inversion, with
and without the cache, and prints the seconds of an edit (claim C33).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editfrontier import inversion
from editfrontier.base.files import write_bytes
from editfrontier.data.cases import read_cases, read_image
from editfrontier.data.pixels import to_images
from editfrontier.diffusion import sampling
from editfrontier.inversion.order import reconstruction_errors, slope
from editfrontier.microworld.dataset import build_task
from editfrontier.models.loading import load_pipeline, weights_sha256
from editfrontier.study.drawing.plotting import figure_style, save_figure

METHODS = ("euler", "midpoint", "rf_solver", "fireflow")
ASYMPTOTIC = 32
"""Numbers of steps from which slopes are taken: with fewer, Euler has not entered its regime."""


def portraits(count: int) -> tuple[Tensor, list[str]]:
    """Return images [B, 3, H, W] and their captions."""
    with tempfile.TemporaryDirectory() as name:
        build_task("portraits", count, 7, Path(name))
        cases = read_cases(Path(name) / "cases.parquet")
        return to_images([read_image(Path(name) / case.image) for case in cases]), [c.source_caption for c in cases]


def order(model: Any, images: Tensor, prompts: list[str], steps: list[int]) -> dict[str, list[float]]:
    """Print and return the root mean squared error of the latents of each method, for each number of steps."""
    with torch.no_grad():
        clean = sampling.encode(model, images)
    text = inversion.embed(model, prompts)
    print(f"{'method':12}" + "".join(f"{n:>11}" for n in steps) + f"{'slope':>9}")
    found = {}
    for method in METHODS:
        errors = found[method] = reconstruction_errors(model, clean, text, method, steps)
        late = [i for i, n in enumerate(steps) if n >= ASYMPTOTIC]
        fitted = slope([steps[i] for i in late], [errors[i] for i in late]) if len(late) > 1 else float("nan")
        print(f"{method:12}" + "".join(f"{error:11.2e}" for error in errors) + f"{fitted:9.2f}", flush=True)
    return found


def write(found: dict[str, list[float]], steps: list[int], stem: Path) -> None:
    """Write the errors as <stem>.csv, and as a figure (.pdf, .svg, .png)."""
    lines = ["method,steps,latent_rmse"]
    lines += [f"{name},{n},{error!r}" for name, errors in found.items() for n, error in zip(steps, errors, strict=True)]
    write_bytes(stem.with_suffix(".csv"), ("\n".join(lines) + "\n").encode())
    with figure_style():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(3.6, 2.8), layout="constrained")
        for marker, (name, errors) in zip("os^D", found.items(), strict=False):
            axes.loglog(steps, errors, marker=marker, markersize=4, linewidth=1.1, label=name)
        first = found["euler"][-1] * steps[-1]
        axes.loglog(steps, [first / n for n in steps], linestyle=":", color="#8A8A8A", linewidth=1, label="1/N")
        axes.set_xticks(steps, [str(n) for n in steps])
        axes.minorticks_off()
        axes.set_xlabel("steps N in each direction")
        axes.set_ylabel("RMSE of the latents")
        axes.legend()
        save_figure(figure, stem)


def cache(model: Any, images: Tensor, prompts: list[str], weights: str, edits: int) -> None:
    """Print the seconds of an edit that needs a 50-step DDIM inversion, without and with the cache."""
    with torch.no_grad():
        clean = sampling.encode(model, images)
    text = inversion.embed(model, prompts)
    with tempfile.TemporaryDirectory() as name:
        for label, folder in (("without", None), ("with", Path(name))):
            spent = []
            for _ in range(edits):
                started = time.perf_counter()
                store = inversion.InversionCache(folder, weights, "benchmark") if folder else None
                found = inversion.invert(model, clean, "ddim", 50, prompts, images=images, cache=store)
                inverted = time.perf_counter()
                inversion.reconstruct(model, found, "ddim", 50, text)
                spent.append((inverted - started, time.perf_counter() - inverted))
            per = [[part / len(images) for part in pair] for pair in spent]
            total = sum(map(sum, per)) / edits
            shown = ", ".join(f"{pair[0]:.3f} + {pair[1]:.3f}" for pair in per)
            print(f"{label:8} the cache: {total:.3f} s an edit (inversion + sampling of each: {shown})", flush=True)


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("resources/micro"))
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128])
    parser.add_argument("--edits", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    images, prompts = portraits(arguments.images)
    images = images.to(arguments.device)
    flux = load_pipeline("flux", arguments.models / "flux")
    sampling.prepare_model(flux, torch.device(arguments.device))
    found = order(flux, images, prompts, arguments.steps)
    if arguments.out:
        write(found, arguments.steps, arguments.out)
    folder = arguments.models / "text-to-image"
    diffusion = load_pipeline("text_to_image", folder)
    sampling.prepare_model(diffusion, torch.device(arguments.device))
    cache(diffusion, images, prompts, weights_sha256(folder), arguments.edits)


if __name__ == "__main__":
    main()
