"""Image quality by pyiqa: MUSIQ (Ke et al., ICCV 2021) and any other metric of the package, by its name there.

Licence: pyiqa (PolyForm Noncommercial 1.0.0) and the weights of MUSIQ (CC BY-NC-SA 4.0) may not be used commercially.
No other file imports the package.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import packaging.version
import torch
from torch import Tensor, nn

from editfrontier.base.errors import FETCH_WEIGHTS, UserError, did_you_mean
from editfrontier.scoring.networks.common import (
    WEIGHTS,
    NetworkEvaluator,
    batched,
    fill_module,
    read_checkpoint,
    read_config,
    read_weights,
)
from editfrontier.scoring.shapes import Images, Values

MUSIQ, ANY = "musiq", "pyiqa"
"""`architecture` of a folder: MUSIQ itself, or the metrics that config.json names."""
BATCH = 16


def build_musiq(network: dict[str, Any]) -> nn.Module:
    """Return pyiqa's own MUSIQ class without weights; network: its arguments (patch_size, num_layers, ...)."""
    from pyiqa.archs.musiq_arch import MUSIQ as Musiq

    return Musiq(pretrained=False, **network)


class NoReferenceEvaluator(NetworkEvaluator):
    """quality = a no-reference metric, turned so that higher is better; artifact = 1 - quality / 100.

    The paper names no classifier of artifacts. Where the config has no evaluator `artifact`, an image has artifacts if
    it is rated below almost all unedited sources (`metrics.quality.artifact_threshold`): a rate of low quality, not of
    visible defects.
    """

    def __init__(self, network: nn.Module, device: str = "cpu", precision: str = "fp32", sign: int = 1) -> None:
        super().__init__(network, device, precision)
        self.sign = sign

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> NoReferenceEvaluator:
        """Load the metric that a folder names.

        Args:
            path: folder with config.json: `{architecture: musiq, weights: <file>}`, the same with `network` in place of
                `weights` for a small one in model.safetensors, or `{architecture: pyiqa, metric: <name in pyiqa>}` with
                the files of its weights under the names that they have in pyiqa's cache.

        Raises:
            UserError: it is no such folder, a file is missing, or pyiqa is not installed or has no such metric.
        """
        folder = Path(path)
        config = read_config(folder, MUSIQ, ANY)
        if config["architecture"] == ANY:
            network, lower_better = _create(str(config.get("metric")), "NR", folder, device)
            return cls(network, device, precision, -1 if lower_better else 1)
        if "network" in config:
            network = fill_module(build_musiq(config["network"]), read_weights(folder / WEIGHTS), folder / WEIGHTS)
            return cls(network.to(device), device, precision)
        weights = folder / str(config.get("weights"))
        # pyiqa unpickles anything: the file is read as tensors first, which refuses whatever would run code.
        read_checkpoint(weights)
        network, _ = _create("musiq", "NR", folder, device, pretrained_model_path=str(weights))
        return cls(network, device, precision)

    def quality(self, images: Images) -> Values:
        """Return quality, higher is better."""
        return self.sign * self.run(lambda x: _seeded(self.network, x.float() / 255), images, batch=BATCH)

    def artifact(self, images: Images) -> Values:
        """Return 1 - quality / 100."""
        return 1 - self.quality(images) / 100

    def scores(self, images: Images) -> tuple[Values, Values]:
        """Return quality and artifact, in one forward."""
        quality = self.quality(images)
        return quality, 1 - quality / 100


class FullReferenceEvaluator:
    """Metrics that compare two images, by their names in pyiqa; each is made when it is asked for first."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        self.networks: dict[str, nn.Module] = {}

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> FullReferenceEvaluator:
        """path: folder with config.json, `{architecture: pyiqa}`, and the weights of metrics that have any."""
        read_config(Path(path), ANY)
        return cls(Path(path), device)

    def compare(self, name: str, images: Images, references: Images) -> Values:
        """Compare images with references by the metric of this name.

        Raises:
            UserError: pyiqa is not installed or has no such metric, or a file of weights is missing.
        """
        if name not in self.networks:
            self.networks[name], _ = _create(name, "FR", self.folder, self.device)
        network = self.networks[name]
        return batched(
            lambda x, y: _seeded(network, x.float() / 255, y.float() / 255),
            *(images, references),
            device=self.device,
            bf16=False,
            batch=BATCH,
        )


def _seeded(network: Callable[..., Any], *images: Tensor) -> Tensor:
    """Call a network on [B, 3, H, W] in [0, 1] -> [B]; crops that some take at random are always at the same places."""
    state = np.random.get_state()
    try:
        np.random.seed(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            output = network(*images)
    finally:
        np.random.set_state(state)
    return (output[0] if isinstance(output, tuple) else output).reshape(len(images[0]))


def _create(name: str, mode: str, folder: Path, device: str, **options: Any) -> tuple[nn.Module, bool]:
    """Return a metric of pyiqa and whether lower is better; mode: "NR" or "FR", without or with a reference."""
    try:
        import pyiqa
    except ImportError as error:
        raise UserError(
            f"{folder}: the metric '{name}' needs the package pyiqa ({error}), whose licence is non-commercial. Run "
            "`make setup`, or leave the evaluator out of the config."
        ) from None
    known = pyiqa.list_models(mode)
    if name not in known:
        kind = "compares an image with another one" if mode == "FR" else "judges an image without another one"
        raise UserError(
            f"{folder / 'config.json'}: '{name}' is no metric of pyiqa that {kind}.{did_you_mean(name, known)} "
            "Correct the name."
        )
    with _files_of(folder, name):
        metric = pyiqa.create_metric(name, device=device, **options)
    # The network itself: pyiqa's own forward lets convolutions round to TF32.
    return metric.net.eval(), bool(metric.lower_better)


@contextlib.contextmanager
def _files_of(folder: Path, name: str) -> Iterator[None]:
    """Within the block pyiqa finds weights in `folder` only, fetches nothing, and reads tensors only of pickles."""
    from huggingface_hub import constants
    from pyiqa.utils import download_util

    def refuse(url: Any, *args: Any, **kwargs: Any) -> NoReturn:
        file = str(getattr(url, "full_url", url)).rpartition("/")[2]
        raise UserError(
            f"{folder / file}: no such file, expected weights of pyiqa's '{name}'. Fetch {url} into that folder, or "
            f"enter it in config/models.yaml and run {FETCH_WEIGHTS}."
        )

    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("pkg_resources") is None:
            # openai-clip, which CLIP-IQA imports, takes `packaging` from there; setuptools has dropped it.
            sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")
            sys.modules["pkg_resources"].packaging = packaging  # type: ignore[attr-defined]
            stack.callback(sys.modules.pop, "pkg_resources")
        safely = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_HOME": str(folder)}
        stack.enter_context(mock.patch.dict(os.environ, safely))
        stack.enter_context(mock.patch.object(download_util, "DEFAULT_CACHE_DIR", str(folder)))
        stack.enter_context(mock.patch.object(download_util, "download_url_to_file", refuse))
        stack.enter_context(mock.patch("urllib.request.urlopen", refuse))
        stack.enter_context(mock.patch.object(constants, "HF_HUB_OFFLINE", True))
        try:
            yield
        except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{folder}: pyiqa's '{name}' cannot be loaded ({reason}), expected the files of its weights there, "
                f"by the names that they have in pyiqa's cache. Put them there, or run {FETCH_WEIGHTS}."
            ) from None
