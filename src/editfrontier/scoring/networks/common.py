"""What all evaluators share: the class, reading a model folder, batching, the format of images."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from editfrontier.base.errors import FETCH_WEIGHTS, UserError

BATCH = 256
PRECISIONS = ("fp32", "bf16")
WEIGHTS = "model.safetensors"


def read_config(folder: Path, architecture: str, *others: str) -> dict[str, Any]:
    """Read config.json of a model folder and check that it describes `architecture`, or one of `others`.

    Raises UserError naming the file if it is missing, unreadable or of another architecture.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}), expected the configuration of an evaluator. "
            "Run `snakemake zoo`, or `git checkout` the folder"
        ) from error
    named = config.get("architecture")
    if named not in (architecture, *others):
        raise UserError(
            f"{path}: architecture is {named!r}, expected {architecture!r}. Point the config at another folder"
        )
    return config


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read safetensors weights as fp32. Raises UserError naming the file."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}), expected safetensors weights. "
            "Run `snakemake zoo`, or `git checkout` the file"
        ) from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read weights that are published as a pickle, tensors only: nothing in it is run.

    The state may stand under the key "state_dict" or "params", and its names may start with "module.".

    Raises:
        UserError: the file is missing, no checkpoint, or holds anything else than tensors.
    """
    fix = f"Delete it and run {FETCH_WEIGHTS}."
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected published weights. Run {FETCH_WEIGHTS}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: cannot be read as tensors only ({first}), expected published weights. {fix}"
        ) from None
    for key in ("state_dict", "params"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no named weights, expected the weights of one network. {fix}")
    return {name.removeprefix("module."): value for name, value in state.items()}


_RANDOM = (Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)
"""Functions that draw random weights. The context sees a call of `nn.init`, not the calls that `nn.init` makes."""


class Unfilled(TorchFunctionMode):
    """Context in which networks are made without drawing the random weights that published ones replace at once.

    To draw them takes as long as to read the others. What is not filled afterwards holds arbitrary memory, so that it
    suits only networks of which every parameter is known to be read, as `fill_module` and `load_module` see to.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _RANDOM:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def fill_module(module: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Fill a network with published weights; raise `UserError` that names the file and the first key that differs."""
    # Counters of batches are of no use after training, and old files lack them.
    needed = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
    given = {name for name in state if not name.endswith("num_batches_tracked")}
    for names, problem in ((needed - given, "has no"), (given - needed, "has an unknown")):
        if names:
            raise UserError(
                f"{path}: {problem} '{min(names)}' (and {len(names) - 1} more), expected the published weights of "
                f"{type(module).__name__}. Fetch the file again, or correct config.json next to it."
            )
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(
            f"{path}: does not fit {type(module).__name__} ({str(error).splitlines()[-1].strip()}). Fetch the file "
            "again, or correct config.json next to it."
        ) from None
    return module.float().eval().requires_grad_(False)


def load_checkpoint(make: Callable[[], nn.Module], weights: Path, device: str) -> nn.Module:
    """Make a network and fill it with published weights; return it in eval mode, without gradients, channels last."""
    with Unfilled():
        network = make()
    network = fill_module(network, read_checkpoint(weights), weights)
    return network.to(device).to(memory_format=torch.channels_last)


def load_module(module: nn.Module, folder: Path, device: str) -> nn.Module:
    """Fill `module` with the weights of a model folder; return it in eval mode, without gradients, channels last."""
    state = read_weights(folder / WEIGHTS)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS}: does not fit config.json next to it ({error}). "
            "Run `snakemake zoo`, or `git checkout` the folder"
        ) from error
    return module.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def check_precision(precision: str) -> bool:
    """Return whether to autocast to bf16. Raises UserError for an unknown precision."""
    if precision not in PRECISIONS:
        raise UserError(
            f"precision: {precision!r} is unknown, expected one of {', '.join(PRECISIONS)}. Correct the config"
        )
    return precision == "bf16"


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is uint8 [B, 3, H, W]."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"expected uint8 images [B, 3, H, W], got {images.dtype} {tuple(images.shape)}")


def scale(images: Tensor) -> Tensor:
    """Map uint8 [0, 255] to float [-1, 1], channels last in memory."""
    return images.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def batched(
    function: Callable[..., Tensor], *inputs: Tensor, device: str, bf16: bool, batch: int | None = None
) -> Tensor:
    """Apply `function` to slices of `batch` rows (None: BATCH) of `inputs`; return fp32 on the CPU.

    function: takes as many tensors as there are inputs, on `device`; returns a tensor with the same first axis.
    """
    parts = []
    step = batch or BATCH
    for start in range(0, len(inputs[0]), step):
        slices = [tensor[start : start + step].to(device) for tensor in inputs]
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
            parts.append(function(*slices).float().cpu())
    if not parts:
        raise ValueError("expected at least one image")
    return torch.cat(parts)


class NetworkEvaluator:
    """An evaluator of one network.

    Attributes:
        architecture: `architecture` in the config.json of the folders that `load` reads.
        build: function, config -> network without weights.
    """

    architecture: ClassVar[str]
    build: ClassVar[Any]

    def __init__(self, network: Any, device: str = "cpu", precision: str = "fp32") -> None:
        self.network, self.device = network, device
        self.bf16 = check_precision(precision)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> Self:
        """Load a folder with config.json and model.safetensors; raise `UserError` if it is not one."""
        config = read_config(Path(path), cls.architecture)
        return cls(load_module(cls.build(config), Path(path), device), device, precision)

    def run(self, function: Callable[..., Tensor], *images: Tensor, batch: int | None = None) -> Tensor:
        """Apply a function to batches of images, uint8 [B, 3, H, W], on the device; return fp32 on the CPU."""
        for tensor in images:
            check_images(tensor)
        return batched(function, *images, device=self.device, bf16=self.bf16, batch=batch)
