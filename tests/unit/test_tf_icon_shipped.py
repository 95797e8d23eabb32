"""TF-ICON on the shipped text-to-image model: what the exceptional prompt is worth, and a composition of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier.data.language import load_language
from editfrontier.diffusion import sampling
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.editing.editor import EditBatch, Measured, get_editor, make_params
from editfrontier.editing.methods import tf_icon_sampling
from editfrontier.editing.methods.exceptional_prompt import exceptional_prompt
from editfrontier.inversion.diffusion import clean_estimate, dpm_solve, dpm_times
from editfrontier.microworld.edits import portrait_edits
from editfrontier.models.loading import load_pipeline

COUNT = 3
STEPS = 20


@pytest.fixture(scope="module")
def model(root: Path) -> Any:
    return load_pipeline("text_to_image", root / "resources" / "micro" / "text-to-image")


@pytest.fixture(scope="module")
def batch() -> EditBatch:
    """Portraits, each with its own region as its exemplar and its own caption as the target."""
    edits = portrait_edits(COUNT, 3, load_language())
    images = torch.stack([torch.from_numpy(edit.before) for edit in edits]).permute(0, 3, 1, 2).float() / 127.5 - 1
    masks = torch.zeros(COUNT, 1, 64, 64)
    masks[:, :, 24:44, 16:48] = 1.0
    captions = [edit.source_caption for edit in edits]
    return EditBatch(
        case_ids=[edit.label for edit in edits],
        images=images,
        masks=masks,
        source_captions=captions,
        target_captions=captions,
        instructions=[""] * COUNT,
        generators=[torch.Generator().manual_seed(case) for case in range(COUNT)],
        exemplars=images,
        exemplar_masks=masks,
    )


@torch.no_grad()
def there_and_back(model: Any, clean: Tensor, text: TextEmbeddings, guidance: float, back: float) -> Tensor:
    """Latents after an inversion and a reconstruction by DPM-Solver++ 2M, with guidance on each way."""
    scheduler = sampling.make_scheduler(model.scheduler.config)
    times = dpm_times(scheduler, STEPS)

    def solve(start: Tensor, along: list[float], scale: float) -> Tensor:
        return dpm_solve(lambda x, t: clean_estimate(model, scheduler, x, t, text, scale), scheduler, start, along)[-1]

    return solve(solve(clean, times[::-1], guidance), times, back)


def psnr(made: Tensor, expected: Tensor) -> float:
    return float(10 * torch.log10(4 / (made - expected).square().mean((1, 2, 3))).mean())


def test_the_exceptional_prompt_inverts_better_than_a_guided_one(model: Any, batch: EditBatch) -> None:
    """Against the plain prompt at TF-ICON's guidance. At guidance 1 the plain prompt of this model is no worse."""
    with torch.no_grad():
        clean = sampling.encode(model, batch.images)
        nothing = exceptional_prompt(model, COUNT).prompt
        plain = sampling.encode_text(model, batch.source_captions, True)

    def error(text: TextEmbeddings, guidance: float, back: float) -> float:
        return float((there_and_back(model, clean, text, guidance, back) - clean).square().mean().sqrt())

    exceptional = error(TextEmbeddings(nothing, None), 1.0, 1.0)
    assert exceptional < 0.06  # of latents whose standard deviation is about 1
    assert error(TextEmbeddings(nothing, nothing), 5.0, 5.0) == pytest.approx(exceptional, rel=1e-2)  # w cancels
    assert exceptional < 0.6 * error(plain, 5.0, 5.0)
    assert exceptional < 0.3 * error(plain, 1.0, 5.0)


def test_a_composition_of_an_image_with_itself_reconstructs_it(model: Any, batch: EditBatch) -> None:
    """With its own caption it comes near, and nearer than without the constraints; with no words at all it is exact.

    Exact it is where nothing crosses: in a composition of the whole image, and without a foreground.
    """
    masks = torch.ones(COUNT, 1, 64, 64)
    whole = replace(batch, masks=masks, exemplar_masks=masks)

    def run(of: EditBatch = batch, name: str = "tf_icon", **overrides: Any) -> Tensor:
        editor = get_editor(name)
        domain = {"domain": "cross"} if name == "tf_icon" else {}
        made = editor.edit(model, of, make_params(editor, {**domain, "guidance_scale": 1.0, **overrides}))
        assert isinstance(made, Measured)
        return made.images

    with torch.no_grad():
        nothing = TextEmbeddings(exceptional_prompt(model, COUNT).prompt, None)
        latents = there_and_back(model, sampling.encode(model, batch.images), nothing, 1.0, 1.0)
        plain = sampling.decode(model, latents)
    composed, free = run(), run(attention_until=0.0, background_until=0.0)
    assert psnr(composed, batch.images) > psnr(free, batch.images) + 1.0
    assert psnr(composed, batch.images) > psnr(plain, batch.images) - 5.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_icon_sampling.sampling, "encode_text", lambda *_: nothing)
        assert psnr(run(whole), plain) > 60.0
        assert psnr(run(name="tf_icon_text"), plain) > 60.0
