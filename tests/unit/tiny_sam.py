"""Checkpoints of SAM and SAM 2 with tiny random networks of the real classes, in the layout of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam2VideoConfig,
    Sam2VideoModel,
    SamConfig,
    SamImageProcessor,
    SamModel,
)

SIDE = 64
PATCH = 16


def _prompts(hidden: int) -> dict[str, Any]:
    return {"hidden_size": hidden, "image_size": SIDE, "patch_size": PATCH, "mask_input_channels": 4}


def _decoder(hidden: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "mlp_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }


def write_sam(folder: Path) -> Path:
    """Write a checkpoint like facebook/sam-vit-huge."""
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
        "mlp_dim": 32, "output_channels": 16, "num_pos_feats": 8, "global_attn_indexes": [0], "window_size": 2,
        "initializer_range": 0.2,
    }  # fmt: skip
    prompts = {**_prompts(16), "image_embedding_size": SIDE // PATCH}
    SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=_decoder(16))
    ).save_pretrained(folder)
    images = SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, mask_size={"longest_edge": 16}
    )
    images.save_pretrained(folder)  # as on the hub: preprocessor_config.json, and no processor_config.json
    return folder


def write_sam2(folder: Path, *, video: bool = False) -> Path:
    """Write a checkpoint like facebook/sam2.1-hiera-large, which calls itself a video model if `video`."""
    torch.manual_seed(0)
    backbone = {
        "hidden_size": 8, "num_attention_heads": 1, "image_size": [SIDE, SIDE], "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 2], "global_attention_blocks": [3], "model_type": "sam2_hiera_det_model",
        "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision = {
        "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "model_type": "sam2_vision_model",
    }  # fmt: skip
    parts = {"vision_config": vision, "prompt_encoder_config": _prompts(32), "mask_decoder_config": _decoder(32)}
    if video:
        memory = {
            "image_size": SIDE, "memory_attention_hidden_size": 32, "memory_attention_feed_forward_hidden_size": 32,
            "memory_attention_num_layers": 1, "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 8,
            "mask_downsampler_embed_dim": 32, "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 32,
            "memory_attention_rope_feat_sizes": [4, 4],
        }  # fmt: skip
        Sam2VideoModel(Sam2VideoConfig(**parts, **memory)).save_pretrained(folder)
    else:
        Sam2Model(Sam2Config(**parts)).save_pretrained(folder)
    images = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}, mask_size={"height": 16, "width": 16})
    Sam2Processor(images).save_pretrained(folder)
    return folder
