"""A tiny random pipeline in the layout of FLUX with its text encoders, and batches of drags to run on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from editfrontier.data.regions import Region, warp_mask
from editfrontier.editing.editor import EditBatch
from tiny_pipelines import SIZE, TOKENS, tiny_batch, tiny_tokenizer

DOUBLE, SINGLE = 3, 2


def tiny_flux() -> Any:
    """Autoencoder f=4 with a shift, 8x8x4 latents of 32x32 images, 16 tokens, 3 double and 2 single blocks."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.25,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=DOUBLE,
        num_single_layers=SINGLE,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    clip = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    t5 = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0, base_image_seq_len=4),
        vae=vae.eval(),
        text_encoder=CLIPTextModel(clip).eval(),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer_2=tokenizer,
        transformer=transformer.eval(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def region(kind: str = "relocation", shift: tuple[float, float] = (8.0, 4.0)) -> Region:
    """A square of 8 pixels that moves by a shift, or turns by a quarter about its middle."""
    source = np.zeros((SIZE, SIZE), bool)
    source[6:14, 8:16] = True
    affine = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    anchor = None
    if kind == "rotation":
        affine, anchor = np.array([[0.0, -1.0, 21.0], [1.0, 0.0, -2.0]]), (11.5, 9.5)
    return Region(kind, source, affine, warp_mask(source, affine), (), anchor)


def drag_batch(count: int = 2, drags: list[list[Region]] | None = None) -> EditBatch:
    """`tiny_batch` with a drag for each case, and the background that its masks leave."""
    batch = tiny_batch(count)
    assert batch.masks is not None
    kinds = [[region()], [region("rotation")], [region(shift=(-4.0, 10.0))]][:count]
    return replace(batch, drags=drags or kinds, backgrounds=1.0 - batch.masks)


def part_of(batch: EditBatch, rows: list[int]) -> EditBatch:
    """Some cases of a batch as a batch of their own."""

    def pick(value: Any) -> Any:
        if isinstance(value, list):
            return [value[row] for row in rows]
        return value[rows] if isinstance(value, torch.Tensor) else value

    return EditBatch(**{name: pick(value) for name, value in vars(batch).items()})
