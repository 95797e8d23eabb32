"""Tiny pipelines of the real classes with random weights, and batches and cases to run them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from editfrontier.data.cases import Case, write_cases, write_png
from editfrontier.diffusion import sampling
from editfrontier.editing.editor import EditBatch

SIZE = 32
TOKENS = 16
KINDS = {
    "text_to_image": (4, StableDiffusionPipeline),
    "inpainting": (9, StableDiffusionInpaintPipeline),
    "instruct_pix2pix": (8, StableDiffusionInstructPix2PixPipeline),
}


def tiny_tokenizer() -> CLIPTokenizer:
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=TOKENS)


def tiny_pipeline(kind: str = "text_to_image") -> Any:
    """A random pipeline: autoencoder f=4, 8x8x4 latents of 32x32 images, weights large enough to make differences."""
    torch.manual_seed(0)
    channels, pipeline_class = KINDS[kind]
    tokenizer = tiny_tokenizer()
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
        scaling_factor=0.5,
    )
    unet = UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=32,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = pipeline_class(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_batch(count: int = 2, seed: int = 0) -> EditBatch:
    """Random images with a block-aligned mask in their middle, prompts, and generators."""
    random = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, SIZE, SIZE)
    masks[:, :, 8:20, 12:24] = 1.0
    return EditBatch(
        case_ids=[f"case-{i}" for i in range(count)],
        images=torch.rand(count, 3, SIZE, SIZE, generator=random) * 2 - 1,
        masks=masks,
        source_captions=["a face"] * count,
        target_captions=["hat", "beard", "smile", "old"][:count],
        instructions=["add hat", "add beard", "add smile", "age"][:count],
        generators=fresh_generators(count),
    )


def fresh_generators(count: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + i) for i in range(count)]


def tiny_cases(folder: Path, count: int = 5) -> Path:
    """Write a case table with its images, and return its path."""
    random = np.random.default_rng(0)
    cases = []
    for i in range(count):
        image = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        mask[4 + i : 12 + i, 6:20] = True
        edited = np.where(mask[..., None], 255 - image, image)
        for name, array in {"image": image, "mask": mask, "true": edited}.items():
            write_png(folder / f"{name}-{i}.png", array)
        cases.append(
            Case(
                case_id=f"case-{i}",
                task="portraits",
                image=f"image-{i}.png",
                source_caption="a face",
                target_caption=f"face {i}",
                instruction=f"add {i}",
                edit_type="attribute_add",
                mask=f"mask-{i}.png",
                true_edit=f"true-{i}.png",
                cluster=f"image-{i}",
                licence="CC0-1.0",
            )
        )
    path = folder / "cases.parquet"
    write_cases(path, cases)
    return path


def predicted(model: Any, latents: torch.Tensor) -> torch.Tensor:
    """The denoiser's output for one text at timestep 301."""
    text = sampling.encode_text(model, ["a face"] * len(latents), False)
    with torch.no_grad():
        return sampling.guided_output(model, latents, 301, text, 1.0)


def latents_of(count: int) -> torch.Tensor:
    """The same random latents at every call."""
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(7))
