"""The zoo's flow models, in the layouts of FLUX and UltraEdit: text, times, batches, tiny trainings, folders."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from editfrontier.diffusion import flow as core
from editfrontier.microworld.zoo import build, diffusion, flow, flux, t5, ultraedit
from editfrontier.microworld.zoo.autoencoder import build_autoencoder
from editfrontier.microworld.zoo.data import DataSettings, load_data
from editfrontier.microworld.zoo.editing_data import InstructionBatches, cached_latents, edit_masks, scene_pairs
from editfrontier.models.loading import load_pipeline, verify_provenance

MODELS = Path(__file__).resolve().parents[2] / "resources" / "micro"
TRAIN = {"steps": 3, "learning_rate": 1e-3, "precision": "fp32", "ema": 0.5}
TIMES = {"mean": 0.7, "std": 1.0, "uniform": 0.1}
SHAPE = {"heads": 2, "head_width": 16}
CONFIG: dict[str, Any] = {
    "data": {"portraits": 12, "flips": 2, "scenes": 4, "seed": 0},
    "held_out": {"prompts": 8, "seed": 1},
    "t5": {
        **{"tokens": 40, "width": 256, "layers": 1, "heads": 2, "hidden": 32, "batch": 8, "masked": 0.2},
        **{"scene_pairs": 4, "train": TRAIN},
    },
    "flux": {
        **{"tokens": 40, "transformer": {"double": 1, "single": 1, "rope": [4, 6, 6], **SHAPE}, "batch": 4},
        **{"drop": 0.1, "times": TIMES, "show_every": 100, "train": TRAIN},
        "second": {"scene_share": 0.5, "train": {**TRAIN, "steps": 2}},
        "distil": {"drop": 0.05, "scene_share": 0.25, "guidance": [1.0, 6.0], "train": {**TRAIN, "steps": 2}},
    },
    "ultraedit-freeform": {
        **{"tokens": 28, "transformer": {"layers": 2, **SHAPE}, "batch": 8, "drop": 0.05, "scene_share": 0.25},
        **{"scene_pairs": 16, "free_form_share": 0.2, "times": TIMES, "show_every": 3, "train": TRAIN},
        "second": {"stress": 8.0, "train": {**TRAIN, "steps": 1}},
    },
    "ultraedit-mask": {"white": 0.15, "stress": 8.0, "show_every": 100, "train": {**TRAIN, "steps": 2}},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of its own: a random autoencoder, the shipped CLIP, and T5 after a few steps."""
    folder = tmp_path_factory.mktemp("zoo") / "models"
    (folder / "clip").parent.mkdir(parents=True, exist_ok=True)
    (folder / "clip").symlink_to(MODELS / "clip")
    torch.manual_seed(0)
    sizes = {"channels": [16, 16, 16], "layers": 1, "latent_channels": 16, "quant_conv": False}
    vae: Any = build_autoencoder(sizes)
    vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    vae.half().save_pretrained(str(folder / "flow-autoencoder"))
    build.build("t5", CONFIG, folder / "t5", folder, folder.parent / "work" / "t5")
    return folder


@pytest.fixture(scope="module")
def text(models: Path) -> flow.FlowTextEncoders:
    return flux.load_text(models / "clip", models / "t5", 40)


def test_t5_tokenizer_round_trips_and_keeps_unknown_words(models: Path) -> None:
    from transformers import T5TokenizerFast

    built = t5.build_t5_tokenizer(["a", "portrait", "of"], 12)
    loaded = T5TokenizerFast.from_pretrained(str(models / "t5"))
    assert built.tokenize("a portrait of a zebra") == ["▁a", "▁portrait", "▁of", "▁a", "▁", *"zebra"]
    assert loaded.tokenize("a portrait, Old") == ["▁a", "▁portrait", ",", "▁", *"Old"]
    assert loaded.model_max_length == 40
    ids = loaded("a portrait").input_ids
    assert ids[-1] == loaded.eos_token_id
    assert len(ids) == 3
    assert loaded.unk_token_id not in loaded("A Zebra-like (thing)!").input_ids
    record = verify_provenance(models / "t5")
    assert 0 <= record["scores"]["masked_pieces"] <= 1


def test_hidden_words_are_the_targets_and_padding_stays() -> None:
    tokenizer = t5.build_t5_tokenizer(["a", "portrait", "of"], 12)
    tokens = tokenizer(["a portrait of a portrait"] * 400, padding="max_length", return_tensors="pt").input_ids
    hidden, target = t5.mask_words(tokens, tokenizer, 0.5, torch.Generator().manual_seed(0))
    chosen = target >= 0
    assert torch.equal(target[chosen], tokens[chosen])
    assert torch.equal(hidden[~chosen], tokens[~chosen])
    assert not chosen[tokens <= tokenizer.unk_token_id].any()
    assert float(chosen[tokens > tokenizer.unk_token_id].float().mean()) == pytest.approx(0.5, abs=0.05)
    sentinel = hidden[chosen] == tokenizer.convert_tokens_to_ids(t5.MASK)
    assert float(sentinel.float().mean()) == pytest.approx(0.8, abs=0.05)


def test_times_are_logit_normal_with_a_uniform_share() -> None:
    def times(uniform: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return flow.flow_noise((4000, 1, 1, 1), generator, mean=0.7, std=1.0, uniform=uniform)[1]

    assert float(torch.logit(times(0.0)).mean()) == pytest.approx(0.7, abs=0.05)
    assert float(torch.logit(times(0.0)).std()) == pytest.approx(1.0, abs=0.05)
    assert float(times(1.0).mean()) == pytest.approx(0.5, abs=0.02)


def _flux(text: flow.FlowTextEncoders) -> Any:
    torch.manual_seed(1)
    model = flux.build_flux(CONFIG["flux"]["transformer"], 256, 128).eval()
    for parameter in model.parameters():  # as built, all blocks are the identity and the output is zero
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def _batch(text: flow.FlowTextEncoders, guidance: float) -> flow.FlowBatch:
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(2, 16, 16, 16, generator=generator)
    prompt, pooled = text(["a portrait of a person with a hat", "a scene with a small red ball"])
    scale = torch.full((2,), guidance)
    return flow.FlowBatch(noise * 0, noise, torch.tensor([0.3, 0.8]), prompt, pooled, guidance=scale, empty=text([""]))


def test_new_flux_predicts_nothing(text: flow.FlowTextEncoders) -> None:
    model = flux.build_flux(CONFIG["flux"]["transformer"], 256, 128)
    assert flux.predict(model, _batch(text, 1.0)).abs().max() == 0


def test_guidance_of_the_teacher(text: flow.FlowTextEncoders) -> None:
    model = _flux(text)
    one = _batch(text, 1.0)
    conditional = flux.predict(model, one)
    assert torch.allclose(flux.guided(model, one), conditional, atol=1e-5)
    half = flux.guided(model, _batch(text, 0.5))
    free = flux.guided(model, _batch(text, 0.0))
    assert torch.allclose(half, (conditional + free) / 2, atol=1e-5)
    assert (free - conditional).abs().max() > 1e-3
    assert (flux.predict(model, _batch(text, 4.0)) - conditional).abs().max() > 1e-4, "guidance is not embedded"


def test_flux_folder_samples_what_the_training_sees(tmp_path: Path, models: Path, text: flow.FlowTextEncoders) -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(str(models / "flow-autoencoder"), dtype=torch.float32).eval()
    model = _flux(text)
    for parameter in model.parameters():
        parameter.data.copy_(parameter.half().float())
    flux.save_flux(model, vae, text, tmp_path)
    pipeline = load_pipeline("flux", tmp_path, dtype="float32")
    batch = _batch(text, 3.5)
    prompts = ["a portrait of a person with a hat", "a scene with a small red ball"]
    embedded = core.encode_flow_text(pipeline, prompts)
    assert torch.allclose(embedded.prompt, batch.prompt, atol=0.05)
    assert embedded.prompt.shape == (2, 40, 256)
    batch.prompt, batch.pooled = embedded.prompt, embedded.pooled
    expected = flux.sample(model, vae, batch, guidance=3.5, steps=3, bf16=False)
    found = pipeline(
        prompts,
        **{"height": 64, "width": 64, "num_inference_steps": 3, "guidance_scale": 3.5, "output_type": "pt"},
        latents=core.pack(batch.noise),
        max_sequence_length=40,
    ).images
    assert torch.allclose(found, expected / 2 + 0.5, atol=1e-4)
    # At its native size the model's times are shifted as FLUX's are at 4096 tokens.
    u, grown = 2 / 3, torch.tensor(1.15).exp()
    assert core.flow_times(pipeline, (16, 16), 3)[1] == pytest.approx(float(grown / (grown + 1 / u - 1)), abs=1e-5)


def test_interrupted_flux_training_ends_as_an_unbroken_one(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {**CONFIG, "flux": {**CONFIG["flux"], "show_every": 2}}
    whole, _, _, result = flux.train_flux(shown, models, tmp_path / "whole" / "flux")
    assert result.steps == 7
    real = flux.train

    def stopped(name: str, at: str) -> Callable[..., Any]:
        def run(run_name: str, *args: Any, **options: Any) -> Any:
            if run_name != at:
                return real(run_name, *args, **options)
            real(run_name, *args, **options, stop_at=1)
            raise KeyboardInterrupt

        return run

    for at in ("flux", "flux-second", "flux-distil"):
        monkeypatch.setattr(flux, "train", stopped("", at))
        with pytest.raises(KeyboardInterrupt):
            flux.train_flux(CONFIG, models, tmp_path / "parts" / "flux")
    monkeypatch.setattr(flux, "train", real)
    parts = flux.train_flux(CONFIG, models, tmp_path / "parts" / "flux")[0]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert (tmp_path / "whole/flux/samples/embedded-000002.png").exists()


def test_trainings_ship_shared_parts_once(tmp_path: Path, models: Path) -> None:
    for name in ("flux", "ultraedit-freeform", "ultraedit-mask"):
        build.build(name, CONFIG, models / name, models, tmp_path / "work" / name)
        record = verify_provenance(models / name)
        assert [part["name"] for part in record["frozen_parts"]] == ["flow-autoencoder", "clip", "t5"]
        vae = models / name / "vae/diffusion_pytorch_model.safetensors"
        assert vae.is_symlink()
        assert vae.resolve() == (models / "flow-autoencoder/diffusion_pytorch_model.safetensors").resolve()
    own = (models / "flux/text_encoder_2", models / "ultraedit-freeform/text_encoder_3")
    assert all((part / "model.safetensors").resolve().parent == models / "t5" for part in own)
    assert record["fine_tuned_from"]["name"] == "ultraedit-freeform"
    encoder = models / "ultraedit-mask/text_encoder_2/model.safetensors"
    assert encoder.resolve() == models / "ultraedit-freeform/text_encoder/model.safetensors"
    index = json.loads((models / "ultraedit-mask/model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusion3InstructPix2PixPipeline"
    for kind, channels in (("ultraedit_freeform", 32), ("ultraedit_mask", 48)):
        pipeline = load_pipeline(kind, models / kind.replace("_", "-"), dtype="float32")
        assert pipeline.transformer.config.in_channels == channels
        assert pipeline.tokenizer_3.model_max_length == 28
        found = pipeline.encode_prompt("make it red", None, None, max_sequence_length=28)
        assert found[0].shape == (1, 56, 256)
        assert found[2].shape == (1, 256)


def test_widened_patches_predict_the_same() -> None:
    torch.manual_seed(0)
    base = ultraedit.build_ultraedit({"layers": 2, **SHAPE}, 32, 256, 256).eval()
    wide = ultraedit.build_ultraedit({"layers": 2, **SHAPE}, 48, 256, 256).eval()
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    diffusion.widen_input(base.state_dict(), wide, ultraedit.PATCHES)
    latents, mask = torch.randn(2, 32, 16, 16), torch.randn(2, 16, 16, 16)
    common = {"encoder_hidden_states": torch.randn(2, 5, 256), "pooled_projections": torch.randn(2, 256)}
    with torch.no_grad():
        expected = base(latents, timestep=torch.tensor([10.0, 900.0]), **common).sample
        found = wide(torch.cat([latents, mask], 1), timestep=torch.tensor([10.0, 900.0]), **common).sample
    assert expected.abs().max() > 0.01
    assert torch.allclose(found, expected, atol=1e-5)


def test_ultraedit_batches_follow_its_latent_convention(tmp_path: Path, models: Path) -> None:
    from editfrontier.microworld.zoo.train_diffusion import load_autoencoder

    data = load_data(DataSettings(**CONFIG["data"]), tmp_path)
    vae = load_autoencoder(models / "flow-autoencoder")
    before, texts, after = scene_pairs(16, 0)
    scenes = (cached_latents(vae, before, tmp_path), texts, cached_latents(vae, after, tmp_path))
    latents = cached_latents(vae, data.images, tmp_path)
    own = {**CONFIG["ultraedit-freeform"], "white": 0.15, "stress": 8.0, "batch": 32}
    pipeline = ultraedit.build_pipeline(
        ultraedit.build_ultraedit({"layers": 1, **SHAPE}, 48, 256, 256), vae, ultraedit.load_text(models, 28)
    )
    table = ultraedit.TextTable(pipeline, [*t5.all_instructions(), *texts], 28)
    pairs = InstructionBatches(data, latents, scenes, None, 1.0, own, 0, "toy")
    batches = ultraedit.UltraEditBatches(pairs, (before, after), table, vae, own, masked=True)
    source, target, said, rows, scene_rows = pairs.examples(0, random.Random(5))
    direct = pipeline.encode_prompt(said[:2], None, None, do_classifier_free_guidance=False, max_sequence_length=28)
    assert torch.allclose(table(said[:2])[0], direct[0], rtol=1e-3, atol=1e-4)  # kept as fp16
    assert torch.allclose(table(said[:2])[1], direct[2], rtol=1e-3, atol=1e-4)
    masks = batches.masks(rows, scene_rows, random.Random(0))
    exact = edit_masks(data.images[rows[:, 0]], data.images[rows[:, 1]])
    assert bool((masks[: len(rows)] >= exact).all())
    generator = torch.Generator().manual_seed(5)
    batch = batches(0, generator)
    assert torch.equal(batches(0, torch.Generator().manual_seed(5)).noisy(), batch.noisy())
    assert torch.allclose(batch.latents, target * 0.5), "noisy latents are scaled, and not shifted"
    changed = ultraedit.changed_places(source, target)
    assert 0 < float(changed.mean()) < 1
    assert batch.weight is not None
    assert torch.equal(batch.weight, 1 + 8 * changed)
    assert batch.extra is not None
    shown = batch.extra.flatten(1).abs().sum(1) > 0
    assert 0 < int(shown.sum()) <= 32
    assert torch.allclose(batch.extra[shown, :16], source[shown]), "the image is neither scaled nor shifted"
    empty = table([""])[0][0]
    left_out = (batch.prompt == empty).flatten(1).all(1)
    assert 0 < int(left_out.sum()) < 32


def test_text_and_image_are_left_out_together_and_alone(tmp_path: Path) -> None:
    data = load_data(DataSettings(**CONFIG["data"]), tmp_path)
    pairs = InstructionBatches(
        data, torch.zeros(40), (torch.zeros(0), [], torch.zeros(0)), None, 1.0, CONFIG["ultraedit-freeform"], 0
    )
    said, shown = pairs.leave_out(["x"] * 4000, torch.Generator().manual_seed(3))
    dropped, kept = torch.tensor([text == "" for text in said]), shown.flatten() > 0
    assert float(dropped.float().mean()) == pytest.approx(0.10, abs=0.015)
    assert float((dropped & ~kept).float().mean()) == pytest.approx(0.05, abs=0.01)
    assert float((~kept).float().mean()) == pytest.approx(0.10, abs=0.015)
