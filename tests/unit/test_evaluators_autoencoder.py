"""The autoencoder as a judge of distances in latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.diffusion import sampling
from editfrontier.scoring.evaluators.autoencoder import AutoencoderEvaluator
from tiny_pipelines import SIZE, tiny_pipeline


def test_latents_are_those_that_editors_work_on(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    pipeline.vae.save_pretrained(tmp_path)
    judge = AutoencoderEvaluator.load(tmp_path)
    images = torch.randint(0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = sampling.encode(pipeline, images.float() / 127.5 - 1)
    assert torch.allclose(judge.latents(images), expected, atol=1e-4)
    assert float(expected.std()) > 0.01


def test_images_of_all_sizes_have_latents_of_one_size(tmp_path: Path) -> None:
    tiny_pipeline().vae.save_pretrained(tmp_path)
    judge = AutoencoderEvaluator.load(tmp_path)
    grey = [torch.full((1, 3, *size), 90, dtype=torch.uint8) for size in ((SIZE, SIZE), (2 * SIZE, SIZE + 8))]
    first, second = (judge.latents(images) for images in grey)
    assert first.shape == (1, 4, SIZE // 4, SIZE // 4)
    assert torch.allclose(first, second, atol=1e-4)


def test_folders_without_an_autoencoder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no config.json, expected an autoencoder"):
        AutoencoderEvaluator.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no autoencoder of diffusers can be read there"):
        AutoencoderEvaluator.load(tmp_path)
