"""Checks of the machine that Snakemake is started on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from editfrontier.base.integrity.places import caches, writing_problem
from editfrontier.models.weights import broken_models
from editfrontier.running.doctor import Check
from editfrontier.running.planning.costs import Stage
from editfrontier.running.planning.needs import Need, absences
from editfrontier.running.planning.page import size_text

OLDEST = (3, 11)


def check_python() -> Check:
    """Check the version of Python."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST:
        return Check("Python", "wrong", f"{running}, expected 3.11 or newer. Install one and run `make setup`.")
    return Check("Python", "ok", f"{running}, {sys.prefix}")


def check_packages(lock: Path) -> Check:
    """Compare the installed packages with the lock file."""
    if not lock.is_file():
        return Check("packages", "note", f"not compared: there is no {lock}")
    differing = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition("#")[0].partition("==")
        wanted, _, marker = rest.partition(";")
        if not wanted.strip() or ("linux" in marker and sys.platform != "linux"):
            continue
        try:
            found = version(name.strip())
        except PackageNotFoundError:
            found = "missing"
        if found.partition("+")[0] != wanted.strip().partition("+")[0]:
            differing.append(f"{name.strip()} {found} instead of {wanted.strip()}")
    if not differing:
        return Check("packages", "ok", f"as {lock.name} has them")
    examples = ", ".join(differing[:4]) + (f" and {len(differing) - 4} more" if len(differing) > 4 else "")
    return Check("packages", "wrong", f"differ from {lock.name}: {examples}. Run `make setup`.")


def check_torch(device: str, on_cluster: bool) -> Check:
    """Check torch and its GPU.

    Args:
        device: of the config: cpu, cuda, cuda:N, mps or auto.
        on_cluster: whether jobs run elsewhere, where a probe looks.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return Check("torch", "wrong", "not installed here. Run `doctor` in the environment of `make setup`.")

    text = f"torch {torch.__version__}, built for CUDA {torch.version.cuda or 'none'}"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("torch", "ok", f"{text}; here: {', '.join(names)}")
    if device == "cpu" or on_cluster:
        return Check("torch", "ok", f"{text}; no GPU on this machine, which needs none")
    if device == "auto":
        return Check("torch", "note", f"{text}; no usable GPU here, so that everything runs on the processor, slowly")
    fix = "Install the driver, run on a machine with a GPU, or set compute.device to cpu."
    return Check("torch", "wrong", f"{text}; no usable GPU here, but compute.device is {device}. {fix}")


def check_disk(results: Path, stages: Sequence[Stage], needs: Sequence[Need]) -> Iterator[Check]:
    """Check that there is room for results, and for downloads where the hub's cache is."""
    from huggingface_hub.constants import HF_HUB_CACHE

    places = [("disk", results, sum(stage.disk for stage in stages), "results")]
    downloads = sum(need.size for need in needs if need.kind == "weights" and not need.present)
    if downloads:
        places.append(("cache", Path(HF_HUB_CACHE), downloads, "weights to download"))
    for name, folder, wanted, what in places:
        place = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
        free = shutil.disk_usage(place).free
        text = f"{size_text(free)} free in {folder}, {size_text(wanted)} of {what} expected"
        move = "set HF_HOME to another disk" if name == "cache" else "put a link to another disk in its place"
        fix = f". Free some, or {move}." if free < wanted else ""
        yield Check(name, "wrong" if fix else "ok", text + fix)


def check_writing(results: Path) -> Iterator[Check]:
    """Check that results, what Snakemake notes of this folder, and its cache at home can be written."""
    folders = {"results": results, "this folder": Path(".snakemake"), "cache": caches() / "snakemake"}
    problems = {name: writing_problem(folder) for name, folder in folders.items()}
    for name, problem in problems.items():
        if problem:
            yield Check(name, "wrong", problem)
    if not any(problems.values()):
        yield Check("writing", "ok", f"{results}, .snakemake and {folders['cache']} can be written")


def check_models(config: Mapping[str, Any]) -> Iterator[Check]:
    """Check that no file of a model that is here is cut off, a pointer of Git LFS, or without its shards."""
    for problem in broken_models(config):
        yield Check("weights", "wrong", f"{problem}.")


def check_needs(needs: Sequence[Need]) -> Iterator[Check]:
    """Check that weights, data and tokens are there."""
    for kind, text in absences(needs):
        yield Check(kind, "wrong", text)
    there = [need.name for need in needs if need.present]
    if there:
        yield Check("there", "ok", f"{len(there)} of {len(needs)} models, data sets and tokens that the run needs")
