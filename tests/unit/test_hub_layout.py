"""Every editor on checkpoints in the layout of the published ones, loaded and run as the workflow does, 256 and 512."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_image, write_cases, write_png
from editfrontier.diffusion import sampling
from editfrontier.editing.shard import run_shard
from editfrontier.models.kinds import MODEL_KINDS
from editfrontier.models.loading import load_pipeline
from hub_layout import CHECKPOINTS, KIND_OF

# (editor, checkpoint, hyperparameters, forwards of a case)
RUNS: list[tuple[str, str, dict[str, Any], int]] = [
    ("sdedit", "sd2_base", {"num_inference_steps": 4}, 2 * 2),
    ("mask_guided", "sd2_base", {"num_inference_steps": 3}, 2 * 2),
    ("sd_inpaint", "sd2_inpainting", {"num_inference_steps": 2}, 2 * 2),
    ("instruct_pix2pix", "instruct_pix2pix", {"num_inference_steps": 2}, 2 * 3),
    ("ultraedit", "ultraedit_freeform", {"num_inference_steps": 2}, 2 * 3),
    ("ultraedit_mask", "ultraedit_mask", {"num_inference_steps": 2}, 2 * 3),
    # Inversion, then one evaluation that composes attention and two that are free.
    ("tf_icon", "sd2_base", {"num_inference_steps": 3, "attention_until": 0.7}, 2 * 3 + 5 + 2 + 2),
    ("tf_icon_text", "sd2_base", {"num_inference_steps": 3, "attention_until": 0.7}, 3 + 3 + 2 + 2),
    ("diffusion_reconstruction", "sd2_base", {"num_inference_steps": 2}, 2 * 2),
    ("flow_reconstruction", "flux", {"num_inference_steps": 2}, 2 * 3),
]


@pytest.fixture(scope="module")
def case_table(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Size -> a case table with one case that has everything that editors ask for."""

    def write(size: int) -> Path:
        folder = tmp_path_factory.mktemp(f"cases-{size}")
        random = np.random.default_rng(size)
        mask = np.zeros((size, size), dtype=bool)
        mask[size // 4 : size // 2, size // 3 : size // 2] = True
        for name in ("image", "exemplar"):
            write_png(folder / f"{name}.png", random.integers(0, 256, (size, size, 3), dtype=np.uint8))
        write_png(folder / "mask.png", mask)
        case = Case(
            case_id="case",
            task="hub",
            image="image.png",
            source_caption="a face",
            target_caption="a face with a hat",
            instruction="add a hat",
            edit_type="attribute_add",
            mask="mask.png",
            exemplar="exemplar.png",
            cluster="case",
            licence="CC0-1.0",
        )
        write_cases(folder / "cases.parquet", [case])
        return folder / "cases.parquet"

    return write


@pytest.mark.parametrize(("size", "dtype"), [(256, "bfloat16"), (512, "float32")])
@pytest.mark.parametrize(("name", "checkpoint", "params", "forwards"), RUNS, ids=[run[0] for run in RUNS])
def test_editor_runs_on_the_hub_layout(
    name: str,
    checkpoint: str,
    params: dict[str, Any],
    forwards: int,
    size: int,
    dtype: str,
    case_table: Callable[[int], Path],
    hub_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    model = str(hub_folder(checkpoint))
    spec = {"editor": name, "variant": "hub", "params": params, "model": model, "dtype": dtype}
    cases = case_table(size)
    (row,) = run_shard(cases, 0, 1, spec, tmp_path / "record.parquet", tmp_path / "images", 1, progress=lambda _: None)
    assert row.status == "ok", row.reason
    assert row.forwards == forwards
    edited = read_image(tmp_path / row.image)
    assert edited.shape == (size, size, 3)
    assert edited.std() > 1  # neither a blank image nor a safety checker's black one
    assert not np.array_equal(edited, read_image(cases.parent / "image.png"))


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_checkpoint_loads_as_its_kind(checkpoint: str, hub_model: Callable[[str], Any]) -> None:
    kind = KIND_OF.get(checkpoint, checkpoint)
    model = hub_model(checkpoint)
    assert sampling.denoiser(model).config.in_channels == MODEL_KINDS.get(kind).channels
    assert (
        model.vae.config.scaling_factor
        == {4: 0.18215, 16: model.vae.config.scaling_factor}[model.vae.config.latent_channels]
    )
    assert sampling.size_factor(model) == (8 if hasattr(model, "unet") else 16)
    assert getattr(model, "safety_checker", None) is None
    assert kind in MODEL_KINDS
    if checkpoint.startswith("sd2"):  # its text encoder was trained with the padding of OpenCLIP
        assert model.tokenizer.pad_token == "!"


def test_checkpoint_of_another_kind_is_refused(hub_folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="takes 32 channels, expected 48"):
        load_pipeline("ultraedit_mask", hub_folder("ultraedit_freeform"))
