"""Command line of the zoo: `python -m editfrontier.microworld.zoo train|evaluate|check NAME ...`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.yaml_files import read_yaml
from editfrontier.microworld.zoo.provenance import install, update_scores
from editfrontier.models.loading import verify_provenance

GENERATORS = (
    *("autoencoder", "text-to-image", "inpainting", "instruct-pix2pix"),
    *("flow-autoencoder", "t5", "flux", "ultraedit-freeform", "ultraedit-mask"),
)
EVALUATORS = {
    **dict.fromkeys(("attributes", "identity"), "evaluators_portrait"),
    **dict.fromkeys(("quality", "musiq"), "evaluators_quality"),
    **{name: f"evaluators_{name}" for name in ("features", "lpips", "clip", "segmentation", "vqa")},
}
"""Evaluator -> the module with its function `train_<name>`."""
NAMES = (*GENERATORS, *EVALUATORS)
log = logging.getLogger("editfrontier.microworld.zoo")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m editfrontier.microworld.zoo", description="Train the micro zoo.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("train", "train a model, or resume its training"), ("evaluate", "score a trained model")):
        command = commands.add_parser(name, help=text)
        command.add_argument("name", help=", ".join(NAMES))
        command.add_argument("--config", type=Path, help="default: config/zoo.yaml or config/zoo_evaluators.yaml")
        command.add_argument("--out", type=Path, help="folder of the model, default: resources/micro/NAME")
        command.add_argument("--models", type=Path, help="folder with the other models, default: the parent of --out")
        command.add_argument("--threads", type=int, default=2, help="CPU threads; changes no setting of the training")
        if name == "train":
            command.add_argument("--work", type=Path, help="folder for state and caches, default: results/zoo/NAME")
        else:
            command.add_argument("--scores", type=Path, help="JSON file for scores; default: merged into provenance")
            command.add_argument("--samples", type=Path, help="PNG file for a grid of held-out results")
    copy = commands.add_parser("install", help="copy a trained model to the folder that the study reads")
    copy.add_argument("source", type=Path)
    copy.add_argument("target", type=Path)
    copy.add_argument("--scores", type=Path, help="JSON file of held-out scores to merge into the provenance")
    check = commands.add_parser("check", help="compare the files of models with their provenance")
    check.add_argument("folders", nargs="+", type=Path)
    return parser


def keep_memory() -> None:
    """Tell glibc to keep freed memory: training frees and takes large blocks in every step, and new ones are slow."""
    keep, trim, largest = -4, -1, 2**31 - 1  # M_MMAP_MAX, M_TRIM_THRESHOLD of <malloc.h>
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(keep, 0)
        mallopt(trim, largest)


def _run(args: argparse.Namespace) -> None:
    if args.command == "check":
        for folder in args.folders:
            verify_provenance(folder)
            print(f"{folder}: files match their provenance")
        return
    if args.command == "install":
        install(args.source, args.target, read_scores(args.scores) if args.scores else {})
        return
    name = args.name
    if name not in NAMES:
        raise UserError(f"{name}: is no model of the zoo.{did_you_mean(name, NAMES)}")
    evaluator = name in EVALUATORS
    config = read_yaml(args.config or Path("config/zoo_evaluators.yaml" if evaluator else "config/zoo.yaml"))
    if name not in config:
        raise UserError(f"{name}: is missing in the zoo config, expected an entry of that name. Add it")
    out = args.out or Path("resources/micro") / name
    models = args.models or out.parent
    import torch

    torch.set_num_threads(args.threads)
    if args.command == "evaluate":
        _evaluate(name, config, out, models, args)
        return
    keep_memory()
    work = args.work or Path("results/zoo") / name
    if evaluator:
        module = importlib.import_module(f"editfrontier.microworld.zoo.{EVALUATORS[name]}")
        getattr(module, f"train_{name}")(config[name], out, work)
    else:
        from editfrontier.microworld.zoo.build import build

        build(name, config, out, models, work)


def _evaluate(name: str, config: dict[str, Any], out: Path, models: Path, args: argparse.Namespace) -> None:
    scores = verify_provenance(out)["scores"]
    if name in GENERATORS:  # evaluators are scored at the end of their training
        from editfrontier.microworld.zoo.scores import evaluate

        scores = evaluate(name, config, out, models, args.samples)
        if args.scores is None:
            update_scores(out, scores)
    if args.scores is not None:
        args.scores.parent.mkdir(parents=True, exist_ok=True)
        args.scores.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(scores, indent=2))


def read_scores(path: Path) -> dict[str, float]:
    """Read a JSON file of scores, as `evaluate --scores` writes it."""
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected scores. Run `evaluate` first") from error
    return {str(name): float(value) for name, value in scores.items()}


def main(argv: list[str] | None = None) -> int:
    """Run one command; a UserError becomes one line on stderr and exit code 2."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        _run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
