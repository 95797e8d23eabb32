"""Tokenizer, training data, and the diffusion networks and folders of the zoo, with tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from editfrontier.base.errors import UserError
from editfrontier.data.language import DEFAULT_PATH
from editfrontier.microworld.portraits import ATTRIBUTES
from editfrontier.microworld.zoo import diffusion
from editfrontier.microworld.zoo.__main__ import main
from editfrontier.microworld.zoo.autoencoder import build_autoencoder, psnr
from editfrontier.microworld.zoo.data import TrainingData, portraits_with_flips, rows_for_step, to_float, to_uint8
from editfrontier.microworld.zoo.editing_data import edit_masks
from editfrontier.microworld.zoo.provenance import update_scores
from editfrontier.microworld.zoo.scores import agreement
from editfrontier.microworld.zoo.text_init import start_from_clip
from editfrontier.microworld.zoo.tokenizer import (
    build_tokenizer,
    language_words,
    learn_merges,
    save_tokenizer,
)

CONFIG: dict[str, Any] = {
    "unet": {"channels": [16, 16], "layers": 1, "attention": [False, True], "head_width": 16},
    "text": {"width": 16, "layers": 1, "heads": 2},
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(["a", "portrait", "of", "person", "with", "smile"], 16)


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(0)
    return build_autoencoder({"channels": [16, 16, 16], "layers": 1, "latent_channels": 4})


def test_merges_make_every_word_one_token() -> None:
    merges = learn_merges(["smile", "small"], 100)
    assert merges[0] == ("s", "m")
    assert {"".join(pair) for pair in merges} >= {"smile</w>", "small</w>"}
    assert len(learn_merges(["smile", "small"], 2)) == 2


def test_tokenizer_round_trips_through_its_folder(tmp_path: Path, tokenizer: Any) -> None:
    from transformers import CLIPTokenizer

    save_tokenizer(tokenizer, tmp_path)
    loaded = CLIPTokenizer.from_pretrained(str(tmp_path))
    text = "A portrait of a Zebra, with smile"
    assert loaded(text).input_ids == tokenizer(text).input_ids
    assert loaded.model_max_length == 16
    ids = loaded("smile").input_ids
    assert ids == [loaded.bos_token_id, loaded.convert_tokens_to_ids("smile</w>"), loaded.eos_token_id]
    # The end token is the largest id, where CLIPTextModel also looks for it.
    assert loaded.eos_token_id == len(loaded) - 1


def test_unknown_words_fall_into_letters(tokenizer: Any) -> None:
    tokens = tokenizer.tokenize("xyz")
    assert "".join(tokens) == "xyz</w>"
    assert tokenizer.unk_token not in tokens


def test_vocabulary_of_the_language_is_small() -> None:
    built = build_tokenizer(language_words(DEFAULT_PATH), 40)
    assert len(built) < 1500
    assert len(built("a portrait of a person with glasses").input_ids) == 9


@pytest.fixture(scope="module")
def flips() -> TrainingData:
    return TrainingData(*portraits_with_flips(12, 2, 7))


def test_flips_keep_identity_and_change_one_attribute(flips: TrainingData) -> None:
    assert len(flips.images) == flips.portraits == 36
    pairs = flips.pairs()
    assert len(pairs) >= 24
    for source, target, attribute, desired in pairs.tolist():
        assert bool(flips.attributes[target, attribute]) == bool(desired)
        assert bool(flips.attributes[source, attribute]) != bool(desired)
        assert (flips.images[source] != flips.images[target]).float().mean() < 0.6


def test_edit_mask_covers_the_change(flips: TrainingData) -> None:
    source, target = flips.pairs()[0, :2].tolist()
    before, after = flips.images[source][None], flips.images[target][None]
    mask = edit_masks(before, after)
    assert not (((before != after).any(1, keepdim=True)) & (mask < 0.5)).any()
    assert edit_masks(before, before).sum() == 0


def test_each_pass_visits_every_row_once() -> None:
    rows = torch.cat([rows_for_step(12, 4, step, "toy", 0) for step in range(3)])
    assert sorted(rows.tolist()) == list(range(12))
    assert not torch.equal(rows[:4], rows_for_step(12, 4, 3, "toy", 0))


def test_uint8_round_trip_and_psnr() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3)[: 3 * 256].view(1, 3, 16, 16)
    assert torch.equal(to_uint8(to_float(images)), images)
    off = to_float(images) + 2 / 255 * (1 - 2 * (images > 127).float())
    assert float(psnr(off, to_float(images))[0]) == pytest.approx(48.13, abs=0.01)


def test_widened_input_predicts_the_same(tokenizer: Any) -> None:
    torch.manual_seed(0)
    base = diffusion.build_model(CONFIG, tokenizer).eval()
    wide = diffusion.build_model(CONFIG, tokenizer, 9).eval()
    diffusion.widen_input(base.state_dict(), wide)
    sample, tokens = torch.randn(2, 4, 16, 16), diffusion.tokenise(tokenizer, ["a smile", ""])
    times = torch.tensor([10, 900])
    with torch.no_grad():
        expected = base(sample, times, tokens)
        found = wide(torch.cat([sample, torch.randn(2, 5, 16, 16)], 1), times, tokens)
    assert torch.allclose(expected, found, atol=1e-5)


def test_min_snr_weight_is_one_at_high_noise_and_small_at_low_noise() -> None:
    weights = diffusion.min_snr_weight(torch.tensor([0.5, 0.99]), 5.0)
    assert weights[0] == pytest.approx(1.0)
    assert float(weights[1]) == pytest.approx(5 / 99, rel=1e-4)


@pytest.mark.parametrize(("kind", "channels"), [("text-to-image", 4), ("inpainting", 9), ("instruct-pix2pix", 8)])
def test_saved_folder_loads_and_samples(tmp_path: Path, tokenizer: Any, vae: Any, kind: str, channels: int) -> None:
    from editfrontier.models.loading import load_pipeline

    torch.manual_seed(1)
    model = diffusion.build_model(CONFIG, tokenizer, channels).eval()
    before = model.unet.conv_in.weight.detach().clone()
    diffusion.save_pipeline(kind, model, vae, tokenizer, tmp_path)
    assert torch.equal(before, model.unet.conv_in.weight), "saving in half precision must not change the model"
    pipeline = load_pipeline(kind.replace("-", "_"), tmp_path)
    assert type(pipeline).__name__ == diffusion.PIPELINES[kind]
    assert pipeline.scheduler.config.steps_offset == 1
    assert pipeline.scheduler.config.clip_sample is False
    assert torch.allclose(pipeline.unet.conv_in.weight, before, atol=1e-3)
    extra: dict[str, Any] = {}
    if kind != "text-to-image":
        extra["image"] = torch.rand(1, 3, 64, 64)
    if kind == "inpainting":
        extra.update(mask_image=torch.ones(1, 1, 64, 64), height=64, width=64)
    image = pipeline(["a smile"], num_inference_steps=2, output_type="pt", **extra).images
    assert image.shape == (1, 3, 64, 64)
    assert bool(torch.isfinite(image).all())


def test_agreement_is_balanced_over_values() -> None:
    wanted = torch.zeros(10, len(ATTRIBUTES), dtype=torch.bool)
    wanted[0] = True
    scores = agreement(torch.zeros_like(wanted), wanted)
    assert scores["prompts_obeyed"] == pytest.approx(0.9)
    assert scores["prompts_obeyed_balanced"] == pytest.approx(0.5)


def test_command_line_checks_and_installs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "made"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"weights")
    (source / "provenance.json").write_text(json.dumps({"name": "made", "scores": {"psnr": 1.0}}))
    update_scores(source, {"ssim": 0.5})
    scores = tmp_path / "scores.json"
    scores.write_text('{"success": 0.75}')
    assert main(["install", str(source), str(tmp_path / "micro"), "--scores", str(scores)]) == 0
    record = json.loads((tmp_path / "micro" / "provenance.json").read_text())
    assert record["scores"] == {"psnr": 1.0, "ssim": 0.5, "success": 0.75}
    assert main(["check", str(tmp_path / "micro")]) == 0
    (tmp_path / "micro" / "model.safetensors").write_bytes(b"changed")
    assert main(["check", str(tmp_path / "micro")]) == 2
    assert "snakemake zoo" in capsys.readouterr().err
    assert main(["train", "autoencodr"]) == 2
    assert "Did you mean 'autoencoder'" in capsys.readouterr().err


def test_text_encoder_started_from_clip_gives_its_features(tmp_path: Path) -> None:
    from open_clip.transformer import TextTransformer
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    theirs = TextTransformer(context_length=8, vocab_size=30, width=16, heads=2, layers=2, output_dim=16).eval()
    save_file({k: v.clone() for k, v in theirs.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
    sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2}
    config = CLIPTextConfig(
        **sizes, num_attention_heads=2, max_position_embeddings=8, hidden_act="gelu", eos_token_id=29, bos_token_id=28
    )
    ours = CLIPTextModel(config).eval()
    start_from_clip(ours, tmp_path)
    tokens = torch.tensor([[28, 3, 5, 7, 29, 29, 29, 29]])
    with torch.no_grad():
        expected = theirs(tokens)
        found = ours(tokens)[0][:, 4] @ theirs.text_projection
    assert torch.allclose(found, expected, atol=1e-5)
    wide = CLIPTextModel(
        CLIPTextConfig(**{**sizes, "vocab_size": 31}, num_attention_heads=2, max_position_embeddings=8)
    )
    with pytest.raises(UserError, match="Make `text`"):
        start_from_clip(wide, tmp_path)
