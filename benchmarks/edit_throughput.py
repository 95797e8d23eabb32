"""Wall time of whole edit jobs against the bare network forwards that they make.

Run by hand, on an idle machine, from the root of the repository:

    OMP_NUM_THREADS=1 python benchmarks/edit_throughput.py --dtype bfloat16

A job is the command that the workflow runs, in a process of its own: imports, model load, encoding, sampling, decoding
and writing are in its wall time. The bare forwards are the same calls of the same networks on the same inputs, with
nothing around them: of all networks (denoiser, autoencoder, text encoder), and of the denoiser alone. The bound
of the project is 1.25 at 128 cases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from editfrontier.base.parquet import read_parquet
from editfrontier.base.places import ROOT
from editfrontier.data.cases import read_cases
from editfrontier.diffusion import sampling
from editfrontier.editing.editor import get_editor, make_params
from editfrontier.editing.inputs import make_batch, read_inputs
from editfrontier.editing.records import EditSpec
from editfrontier.microworld.dataset import build_task
from editfrontier.models.loading import load_pipeline

FOLDERS = {"text_to_image": "text-to-image", "inpainting": "inpainting", "instruct_pix2pix": "instruct-pix2pix"}
EDITORS = ("sdedit", "mask_guided", "sd_inpaint", "instruct_pix2pix", "autoencoder_round_trip", "source")


Call = tuple[str, str]  # which network, and a description of its inputs
Calls = dict[Call, tuple[int, Callable[[], Any]]]  # how often, and a repetition with the same inputs


def calls_of_a_batch(model: Any, spec: EditSpec, cases: Path, batch_size: int) -> Calls:
    """Edit one batch and note every call of the denoiser, the autoencoder and the text encoder."""
    editor, table = get_editor(spec.editor), read_cases(cases)
    calls: Calls = {}

    def noting(network: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            shapes = [tuple(value.shape) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
            call = (network, str(shapes))
            calls[call] = (calls.get(call, (0, None))[0] + 1, lambda: function(*args, **kwargs))
            return function(*args, **kwargs)

        return noted

    inputs = [read_inputs(case, table, cases.parent, editor.needs, spec.seed) for case in table[:batch_size]]
    inputs += [inputs[-1]] * (batch_size - len(inputs))
    places = [(sampling.denoiser(model), "forward"), (model.vae, "encode"), (model.vae, "decode")]
    places.append((model.text_encoder, "forward"))
    names = ("denoiser", "encoder", "decoder", "text")
    kept = [getattr(module, name) for module, name in places]
    for (module, name), network, function in zip(places, names, kept, strict=True):
        setattr(module, name, noting(network, function))
    editor.edit(model, make_batch(inputs, spec, torch.device(model.device)), make_params(editor, spec.params))
    for (module, name), function in zip(places, kept, strict=True):
        setattr(module, name, function)
    return calls


def bare_seconds(calls: Calls, batches: int, device: torch.device) -> dict[str, float]:
    """Seconds of the calls of all batches by network, timed one after another for at most 10 calls of each shape."""
    total: dict[str, float] = {}
    for (network, _), (count, call) in calls.items():
        timed = min(count * batches, 10)
        with torch.no_grad():
            for warm in (True, False):
                if device.type == "cuda":
                    torch.cuda.synchronize()
                started = time.perf_counter()
                for _ in range(1 if warm else timed):
                    call()
                if device.type == "cuda":
                    torch.cuda.synchronize()
        total[network] = total.get(network, 0.0) + (time.perf_counter() - started) / timed * count * batches
    return total


def main() -> None:
    """Print one line for each editor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("resources/micro"))
    parser.add_argument("--cases", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=sorted(sampling.DTYPES))
    parser.add_argument("--editors", nargs="+", default=EDITORS)
    arguments = parser.parse_args()
    batches = -(-arguments.cases // arguments.batch_size)
    heads = f"{'all s':>9}{'ratio':>8}{'denoiser':>9}{'ratio':>8}"
    print(f"{'editor':24}{'job s':>9}{heads}{'forwards a case':>18}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_task("portraits", arguments.cases, 1, folder / "data")
        cases = folder / "data" / "cases.parquet"
        for editor in arguments.editors:
            kind = get_editor(editor).model
            path = str(arguments.models / FOLDERS[kind]) if kind else None
            values = {
                "editor": editor,
                "variant": editor,
                "params": {},
                "model": path,
                "seed": 1,
                "dtype": arguments.dtype,
            }
            record = folder / editor / "shard-0.parquet"
            command = [
                sys.executable,
                str(ROOT / "scripts" / "edit.py"),
                "--cases",
                str(cases),
            ]
            command += [
                "--spec",
                json.dumps(values),
                "--record",
                str(record),
                "--images",
                str(record.parent / "images"),
            ]
            command += ["--batch-size", str(arguments.batch_size), "--device", arguments.device]
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            job = time.perf_counter() - started
            frame, _ = read_parquet(record, "")
            assert (frame.status == "ok").all(), frame.reason.max()
            line = f"{editor:24}{job:9.1f}"
            if kind and frame.forwards.max():
                model = load_pipeline(kind, Path(str(path)))
                sampling.prepare_model(model, torch.device(arguments.device), arguments.dtype)
                spec = EditSpec.parse(values)
                place = torch.device(arguments.device)
                bare = bare_seconds(calls_of_a_batch(model, spec, cases, arguments.batch_size), batches, place)
                for seconds in (sum(bare.values()), bare["denoiser"]):
                    line += f"{seconds:9.1f}{job / seconds:8.2f}"
            else:
                line += f"{'-':>9}{'-':>8}" * 2
            print(line + f"{frame.forwards.max():18d}", flush=True)


if __name__ == "__main__":
    main()
