"""Checkpoints in the layout of the published ones: the same classes, file names, configs and key names, tiny weights.

What is kept is what loading and running depend on: four autoencoder levels (factor 8), UNets of four levels with
cross-attention in three, all 19 double and 38 single blocks of FLUX.1-dev, the schedulers' configs with the keys that
the published files have and without those that they lack, weights named as of the diffusers version that wrote them.
Widths, depths of the text encoders and vocabularies are small, and the weights are random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from hub_files import (
    write_clip_tokenizer,
    write_index,
    write_json,
    write_network,
    write_t5_tokenizer,
    write_weights,
)

# Above 7788, the token of the exceptional prompt; the published text encoders have 49408.
VOCABULARY = 8192
PNDM = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.8.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
EULER_ANCESTRAL = {
    "_class_name": "EulerAncestralDiscreteScheduler",
    "_diffusers_version": "0.12.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "trained_betas": None,
}
FLOW_SD3 = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.29.0.dev0",
    "num_train_timesteps": 1000,
    "shift": 3.0,
}
FLOW_FLUX = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.30.0.dev0",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}


# Networks -------------------------------------------------------------------------------------------------------------


def _clip_text(folder: Path, network_class: Any, hidden: int, layers: int, activation: str, pad: int) -> None:
    """Write a CLIP text encoder with the older configs' `eos_token_id` 2 and the key prefix of published weights."""
    config = {
        "architectures": [network_class.__name__],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,
        "hidden_act": activation,
        "hidden_size": hidden,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 2 * hidden,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 2,
        "num_hidden_layers": layers,
        "pad_token_id": pad,
        "projection_dim": hidden,
        "vocab_size": VOCABULARY,
    }
    write_json(folder / "config.json", {**config, "torch_dtype": "float32", "transformers_version": "4.25.0.dev0"})
    network = network_class(CLIPTextConfig(**config))
    for table in (name for name, _ in network.named_parameters() if "_embedding." in name):
        # Trained tables differ from token to token; at their initial size the images would not depend on the text.
        network.get_parameter(table).data.mul_(20)
    state = network.state_dict()
    flat = not any(name.startswith("text_model.") for name in state)
    prefix = "text_model." if flat else ""
    write_weights(folder / "model.safetensors", {prefix + name: tensor for name, tensor in state.items()})


def _t5_encoder(folder: Path, hidden: int) -> None:
    config = {
        "architectures": ["T5EncoderModel"],
        "classifier_dropout": 0.0,
        "d_ff": 2 * hidden,
        "d_kv": 8,
        "d_model": hidden,
        "decoder_start_token_id": 0,
        "dense_act_fn": "gelu_new",
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "num_decoder_layers": 1,
        "num_heads": 2,
        "num_layers": 1,
        "output_past": True,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": False,
        "vocab_size": 64,
    }
    write_json(folder / "config.json", {**config, "torch_dtype": "float32", "transformers_version": "4.41.2"})
    network = T5EncoderModel(T5Config(**config))
    state = {"shared.weight": network.get_parameter("shared.weight").data}
    state |= {name: value.data for name, value in network.named_parameters() if name.startswith("encoder.")}
    write_weights(folder / "model.safetensors", state, shards=2)


def _autoencoder(folder: Path, version: str, latent_channels: int, scaling: Mapping[str, float]) -> None:
    """Write an AutoencoderKL of factor 8; without `scaling` the config relies on the class's default, as SD2's does."""
    config: dict[str, Any] = {
        "act_fn": "silu",
        "block_out_channels": [4, 4, 8, 8],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": latent_channels,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "out_channels": 3,
        "sample_size": 512,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    renames: dict[str, str] = {}
    if scaling:
        config |= {"force_upcast": True, "use_quant_conv": False, "use_post_quant_conv": False, **scaling}
    else:  # weights of before diffusers 0.17 name the layers of the middle attention so
        renames = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    write_network(folder, AutoencoderKL, config, version, renames=renames)


def _unet(folder: Path, version: str, channels: int, linear_projection: bool, width: int) -> None:
    config = {
        "act_fn": "silu",
        "attention_head_dim": [1, 2, 2, 2],  # numbers of heads, in spite of the name
        "block_out_channels": [8, 16, 16, 16],
        "center_input_sample": False,
        "cross_attention_dim": width,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "downsample_padding": 1,
        "dual_cross_attention": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": channels,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 4,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "out_channels": 4,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "use_linear_projection": linear_projection,
    }
    write_network(folder, UNet2DConditionModel, config, version)


# Checkpoints ----------------------------------------------------------------------------------------------------------


def _stable_diffusion_2(folder: Path, pipeline: str, channels: int) -> None:
    version = "0.8.0"
    components = {
        # Its name in the published files; transformers 5 has no such class, and diffusers takes its successor.
        "feature_extractor": "transformers CLIPFeatureExtractor",
        "safety_checker": None,
        "scheduler": "diffusers PNDMScheduler",
        "text_encoder": "transformers CLIPTextModel",
        "tokenizer": "transformers CLIPTokenizer",
        "unet": "diffusers UNet2DConditionModel",
        "vae": "diffusers AutoencoderKL",
    }
    write_index(folder, pipeline, version, components, requires_safety_checker=False)
    write_json(folder / "scheduler" / "scheduler_config.json", PNDM)
    _image_processor(folder / "feature_extractor")
    write_clip_tokenizer(folder / "tokenizer", pad="!")
    _clip_text(folder / "text_encoder", CLIPTextModel, 16, layers=2, activation="gelu", pad=1)
    _unet(folder / "unet", version, channels, linear_projection=True, width=16)
    _autoencoder(folder / "vae", version, 4, {})


def _image_processor(folder: Path) -> None:
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "size": {"shortest_edge": 224},
        },
    )


def write_sd2_base(folder: Path) -> None:
    """Stable Diffusion 2 base."""
    _stable_diffusion_2(folder, "StableDiffusionPipeline", 4)


def write_sd2_inpainting(folder: Path) -> None:
    """Stable Diffusion 2 inpainting: nine input channels."""
    _stable_diffusion_2(folder, "StableDiffusionInpaintPipeline", 9)


def write_instruct_pix2pix(folder: Path) -> None:
    """InstructPix2Pix: the layout of Stable Diffusion 1.5, eight input channels, a safety checker."""
    version = "0.12.0.dev0"
    components = {
        "feature_extractor": "transformers CLIPImageProcessor",
        "safety_checker": "stable_diffusion StableDiffusionSafetyChecker",
        "scheduler": "diffusers EulerAncestralDiscreteScheduler",
        "text_encoder": "transformers CLIPTextModel",
        "tokenizer": "transformers CLIPTokenizer",
        "unet": "diffusers UNet2DConditionModel",
        "vae": "diffusers AutoencoderKL",
    }
    write_index(folder, "StableDiffusionInstructPix2PixPipeline", version, components, requires_safety_checker=True)
    write_json(folder / "scheduler" / "scheduler_config.json", EULER_ANCESTRAL)
    _image_processor(folder / "feature_extractor")
    write_clip_tokenizer(folder / "tokenizer")
    _clip_text(folder / "text_encoder", CLIPTextModel, 16, layers=2, activation="quick_gelu", pad=1)
    _unet(folder / "unet", version, 8, linear_projection=False, width=16)
    _autoencoder(folder / "vae", version, 4, {})
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**vision, "vocab_size": 8, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config={**vision, "patch_size": 56}, projection_dim=16)
    StableDiffusionSafetyChecker(config).save_pretrained(folder / "safety_checker")


def _ultraedit(folder: Path, channels: int) -> None:
    version = "0.29.0.dev0"
    components: dict[str, str | None] = {  # of a time before the image encoder
        "scheduler": "diffusers FlowMatchEulerDiscreteScheduler",
        "text_encoder": "transformers CLIPTextModelWithProjection",
        "text_encoder_2": "transformers CLIPTextModelWithProjection",
        "text_encoder_3": "transformers T5EncoderModel",
        "tokenizer": "transformers CLIPTokenizer",
        "tokenizer_2": "transformers CLIPTokenizer",
        "tokenizer_3": "transformers T5TokenizerFast",
        "transformer": "diffusers SD3Transformer2DModel",
        "vae": "diffusers AutoencoderKL",
    }
    write_index(folder, "StableDiffusion3InstructPix2PixPipeline", version, components)
    write_json(folder / "scheduler" / "scheduler_config.json", FLOW_SD3)
    write_clip_tokenizer(folder / "tokenizer")
    write_clip_tokenizer(folder / "tokenizer_2", pad="!")
    write_t5_tokenizer(folder / "tokenizer_3")
    _clip_text(folder / "text_encoder", CLIPTextModelWithProjection, 8, layers=2, activation="quick_gelu", pad=1)
    _clip_text(folder / "text_encoder_2", CLIPTextModelWithProjection, 16, layers=2, activation="gelu", pad=1)
    _t5_encoder(folder / "text_encoder_3", 32)
    _autoencoder(folder / "vae", version, 16, {"scaling_factor": 1.5305, "shift_factor": 0.0609})
    config = {
        "attention_head_dim": 8,
        "caption_projection_dim": 16,
        "in_channels": channels,
        "joint_attention_dim": 32,
        "num_attention_heads": 2,
        "num_layers": 2,
        "out_channels": 16,
        "patch_size": 2,
        "pooled_projection_dim": 24,
        "pos_embed_max_size": 192,
        "sample_size": 128,
    }
    write_network(folder / "transformer", SD3Transformer2DModel, config, version)


def write_ultraedit_freeform(folder: Path) -> None:
    """UltraEdit on SD3, free-form: 32 input channels, a pipeline class that diffusers does not have."""
    _ultraedit(folder, 32)


def write_ultraedit_mask(folder: Path) -> None:
    """UltraEdit on SD3 with a mask: 48 input channels."""
    _ultraedit(folder, 48)


def write_flux(folder: Path) -> None:
    """FLUX.1-dev: all of its blocks, embedded guidance, dynamic shift."""
    version = "0.30.0.dev0"
    components = {
        "scheduler": "diffusers FlowMatchEulerDiscreteScheduler",
        "text_encoder": "transformers CLIPTextModel",
        "text_encoder_2": "transformers T5EncoderModel",
        "tokenizer": "transformers CLIPTokenizer",
        "tokenizer_2": "transformers T5TokenizerFast",
        "transformer": "diffusers FluxTransformer2DModel",
        "vae": "diffusers AutoencoderKL",
    }
    write_index(folder, "FluxPipeline", version, components)
    write_json(folder / "scheduler" / "scheduler_config.json", FLOW_FLUX)
    write_clip_tokenizer(folder / "tokenizer")
    write_t5_tokenizer(folder / "tokenizer_2")
    _clip_text(folder / "text_encoder", CLIPTextModel, 16, layers=2, activation="quick_gelu", pad=1)
    _t5_encoder(folder / "text_encoder_2", 16)
    _autoencoder(folder / "vae", version, 16, {"scaling_factor": 0.3611, "shift_factor": 0.1159})
    config = {
        "attention_head_dim": 8,
        "axes_dims_rope": [2, 2, 4],
        "guidance_embeds": True,
        "in_channels": 64,
        "joint_attention_dim": 16,
        "num_attention_heads": 2,
        "num_layers": 19,
        "num_single_layers": 38,
        "patch_size": 1,
        "pooled_projection_dim": 16,
    }
    write_network(folder / "transformer", FluxTransformer2DModel, config, version, shards=3)


CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "sd2_base": write_sd2_base,
    "sd2_inpainting": write_sd2_inpainting,
    "instruct_pix2pix": write_instruct_pix2pix,
    "ultraedit_freeform": write_ultraedit_freeform,
    "ultraedit_mask": write_ultraedit_mask,
    "flux": write_flux,
}
KIND_OF = {"sd2_base": "text_to_image", "sd2_inpainting": "inpainting"}
"""Kind of model of a checkpoint, where it is not the checkpoint's own name."""


def write_checkpoint(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of `CHECKPOINTS` into a new folder, and return the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CHECKPOINTS[name](folder)
    return folder
