"""The evaluator that asks whether an image shows its caption, and the metrics made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case
from editfrontier.scoring.evaluator import load_evaluator
from editfrontier.scoring.evaluators.vqa import QUESTION, VqaEvaluator, answer_logits, yes_probability
from editfrontier.scoring.metrics import METRICS
from editfrontier.scoring.metrics.vqa import NO_CHOICE, NO_TARGET, vqa_choice
from editfrontier.study.config.models import ON_REQUEST
from editfrontier.study.config.study import evaluators_of, load_study
from paper_fixture import images, write_vqa
from scoring_fixture import scored

ROOT = Path(__file__).resolve().parents[2]
CAPTIONS = ["a red ball", "a blue box of a red ball, a portrait of zebras", "a box", "a portrait of a blue ball"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vqa(tmp_path_factory.mktemp("hub") / "blip")


@pytest.fixture(scope="module")
def judge(folder: Path) -> VqaEvaluator:
    found: VqaEvaluator = load_evaluator("vqa", folder)
    return found


# The evaluator --------------------------------------------------------------------------------------------------------


def test_yes_is_normalised_over_the_two_answers() -> None:
    logits = torch.log(torch.tensor([[0.3, 0.1, 0.6], [0.05, 0.9, 0.05]]))
    assert yes_probability(logits, 0, 1).tolist() == pytest.approx([0.75, 0.05 / 0.95])
    # However unlikely both answers are, and however large the numbers.
    assert yes_probability(torch.tensor([[-400.0, -401.0, 90.0]]), 0, 1).tolist() == pytest.approx([0.7310586])


def test_the_question_holds_the_caption() -> None:
    assert QUESTION.format(caption="a red ball on a beach") == 'does this image show "a red ball on a beach"?'


def test_the_first_answer_token_is_that_of_transformers(judge: VqaEvaluator) -> None:
    """`generate` begins with the token that the evaluator finds most likely."""
    batch = images(3, 48)
    pixels = (batch.float() / 255 - judge.mean) / judge.std
    tokens = judge.tokenizer([QUESTION.format(caption=CAPTIONS[0])] * 3, return_tensors="pt")
    asked = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    out = judge.model.generate(
        pixel_values=pixels, max_new_tokens=1, output_logits=True, return_dict_in_generate=True, **asked
    )
    seen = judge.model.vision_model(pixel_values=pixels).last_hidden_state
    logits = answer_logits(judge.model, seen, tokens.input_ids, judge.start)
    torch.testing.assert_close(logits, out.logits[0].float(), atol=1e-4, rtol=1e-4)
    yes, no = (judge.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    expected = logits.softmax(1)[:, yes] / logits.softmax(1)[:, [yes, no]].sum(1)
    found = judge.probability(batch, [CAPTIONS[0]] * 3)
    torch.testing.assert_close(found[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_pixels_are_those_of_the_published_processor(judge: VqaEvaluator, folder: Path) -> None:
    from transformers import BlipImageProcessor

    processor = BlipImageProcessor.from_pretrained(str(folder))
    source = images(1, 12).repeat_interleave(8, 2).repeat_interleave(8, 3)  # smooth enough for two ways to resize
    expected = processor(Image.fromarray(source[0].permute(1, 2, 0).numpy()), return_tensors="pt").pixel_values
    seen: list[Tensor] = []
    handle = judge.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    judge.probability(source, ["a box"])
    handle.remove()
    assert seen[0].shape == (1, 3, 48, 48)
    # Pillow and its successors round to 8 bits in between: one level of 255 is 0.015 of a standard deviation.
    assert float((seen[0] - expected).abs().max()) < 0.05
    assert float((seen[0] - expected).abs().mean()) < 0.01


def test_answers_depend_on_image_and_caption_and_not_on_the_batch(judge: VqaEvaluator) -> None:
    batch = images(4, 64)
    both = judge.probability(batch, CAPTIONS, CAPTIONS[::-1])
    assert both.shape == (4, 2) and both.dtype == torch.float32
    assert bool(((both > 0) & (both < 1)).all())
    alone = torch.cat([judge.probability(batch[i : i + 1], [CAPTIONS[i]]) for i in range(4)])
    torch.testing.assert_close(both[:, :1], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(judge.probability(batch, CAPTIONS, batch=3), both[:, :1], atol=1e-5, rtol=1e-4)
    assert torch.equal(judge.probability(batch, CAPTIONS, CAPTIONS[::-1]), both)
    same = judge.probability(batch, ["a box"] * 4)[:, 0]
    assert float(same.std()) > 1e-3  # images differ
    words = judge.probability(batch[:1].expand(4, -1, -1, -1), CAPTIONS)[:, 0]
    assert float(words.std()) > 1e-3  # captions differ


def test_a_caption_that_does_not_fit_is_named_and_never_cut(tmp_path: Path) -> None:
    short = VqaEvaluator.load(write_vqa(tmp_path / "blip", max_position_embeddings=14))
    short.probability(images(1, 48), ["a box"])
    with pytest.raises(
        UserError, match=r"caption 'a red ball of a box': its question has 15 tokens, expected at most 14"
    ):
        short.probability(images(1, 48), ["a red ball of a box"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", {"model_type": "bert"}, "model_type is 'bert', expected 'blip'"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("preprocessor_config.json", None, "preprocessor_config.json"),
        ("preprocessor_config.json", {"resample": 2}, r"resample is 2, expected 3 \(bicubic\)"),
        ("preprocessor_config.json", {"size": {"height": 64, "width": 64}}, "the network 48"),
    ],
)
def test_folders_that_hold_no_such_model_are_named(
    tmp_path: Path, name: str, content: dict[str, Any] | None, message: str
) -> None:
    folder = write_vqa(tmp_path / "blip")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | content))
    with pytest.raises(UserError, match=message):
        load_evaluator("vqa", folder)


def test_weights_that_lack_a_layer_are_not_filled_with_noise(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_vqa(tmp_path / "blip")
    state = load_file(folder / "model.safetensors")
    del state["text_encoder.encoder.layer.1.crossattention.self.query.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"has no 'text_encoder.encoder.layer.1.crossattention.self.query.weight'"):
        load_evaluator("vqa", folder)


# The metrics ----------------------------------------------------------------------------------------------------------


class Table:
    """Finds each caption as probable as it is told, for any image, and counts the images it was shown."""

    def __init__(self, known: dict[str, float]) -> None:
        self.known, self.shown = known, 0

    def probability(self, images: Tensor, *captions: Sequence[str]) -> Tensor:
        self.shown += len(images)
        return torch.tensor([[self.known[text] for text in row] for row in zip(*captions, strict=True)])


def case(case_id: str, source: str, target: str) -> Case:
    return Case(
        case_id=case_id, task="t", image="i.png", source_caption=source, target_caption=target, instruction="",
        edit_type="", cluster=case_id, licence="",
    )  # fmt: skip


def test_scores_of_constructed_cases() -> None:
    known = {"cat": 0.5, "dog": 0.75, "bird": 0.25}
    asked = [
        case("better", "cat", "dog"),
        case("worse", "cat", "bird"),
        case("equal", "dog", "dog"),
        case("no target", "cat", ""),
        case("no source", "", "dog"),
    ]
    judge = Table(known)
    values, reasons = scored(asked, images(5, 8), images(5, 8), {"vqa": judge})
    assert judge.shown == 4
    assert {key: value for key, value in values.items() if "vqa" in key[0]} == {
        ("vqa_score", "better"): 0.75, ("vqa_score", "worse"): 0.25, ("vqa_score", "equal"): 0.75,
        ("vqa_score", "no source"): 0.75, ("vqa_choice", "better"): 1.0, ("vqa_choice", "worse"): 0.0,
    }  # fmt: skip
    assert {key: reason for key, reason in reasons.items() if "vqa" in key[0]} == {
        ("vqa_score", "no target"): NO_TARGET, ("vqa_choice", "equal"): NO_CHOICE,
        ("vqa_choice", "no target"): NO_CHOICE, ("vqa_choice", "no source"): NO_CHOICE,
    }  # fmt: skip


def test_a_tie_is_no_success() -> None:
    half = torch.tensor([0.5])
    assert vqa_choice(half, half, torch.tensor([True])).tolist() == [0.0]
    assert vqa_choice(half, half, torch.tensor([False])).isnan().all()


def test_without_the_evaluator_nothing_is_said() -> None:
    values, reasons = scored([case("a", "cat", "dog")], images(1, 8), images(1, 8), {})
    assert not any("vqa" in metric for metric, _ in (*values, *reasons))


def test_metrics_are_described() -> None:
    score, choice = METRICS["vqa_score"], METRICS["vqa_choice"]
    assert score.range == choice.range == (0.0, 1.0)
    assert (score.group, score.direction, score.binary) == ("controllability", "higher", False)
    assert (choice.group, choice.direction, choice.binary) == ("controllability", "higher", True)


# Which tasks ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["micro", "smoke", "paper"])
def test_only_tasks_that_name_its_metrics_load_it(scale: str) -> None:
    study = load_study([ROOT / f"config/{scale}.yaml"])
    asking = {task for task in study.config["tasks"] if "vqa" in evaluators_of(study, task)}
    assert asking == {"scenes", "sessions"}
    others = set(study.config["evaluators"]) - set(ON_REQUEST)
    assert all(set(evaluators_of(study, task)) - set(ON_REQUEST) == others for task in study.config["tasks"])


@pytest.mark.parametrize(
    "change",
    [
        {"experiments": {"table1": {"metrics": ["vqa_score"]}}},
        {"statistics": {"tasks": {"portraits": {"controllability": ["vqa_choice"]}}}},
        {"analyses": {"guidance": {"params": {"metrics": ["vqa_choice"]}}}},
    ],
)
def test_a_table_a_composite_or_an_analysis_asks_for_it(tmp_path: Path, change: dict[str, Any]) -> None:
    import yaml

    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(change))
    study = load_study([ROOT / "config/micro.yaml", own])
    assert "vqa" in evaluators_of(study, "portraits")
