"""Training side of the model for questions, and how good the shipped one is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import DEFAULT_PATH, load_language
from editfrontier.microworld.edits import Edit, scene_edits
from editfrontier.microworld.portraits import attribute_index
from editfrontier.microworld.scenes import Scene, SceneObject, render_scenes, sample_scenes
from editfrontier.microworld.sessions import sample_sessions
from editfrontier.microworld.shapes import CLASSES, COLOURS
from editfrontier.microworld.zoo.evaluators_vqa import (
    VqaWithReadings,
    build_blip,
    build_vqa_tokenizer,
    choice_accuracy,
    choices,
    save_vqa,
    vqa_loss,
)
from editfrontier.microworld.zoo.evaluators_vqa_data import (
    IGNORED,
    EditPool,
    VqaBatches,
    agreement,
    build_pool,
    patch_labels,
    training_portrait_pairs,
)
from editfrontier.microworld.zoo.tokenizer import language_words
from editfrontier.scoring.evaluators.vqa import VqaEvaluator

SIZE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY = {"vision": SIZE, "text": {**SIZE, "max_position_embeddings": 64}}
TOKENIZER = build_vqa_tokenizer(language_words(DEFAULT_PATH), 64)
SHIPPED = Path(__file__).resolve().parents[2] / "resources" / "micro" / "vqa"


@pytest.fixture(scope="module")
def pool() -> EditPool:
    return build_pool(18, 35, 0, TOKENIZER)


def text_of(tokens: list[int]) -> str:
    decoded: str = TOKENIZER.decode(tokens, skip_special_tokens=True)
    return decoded


def test_every_word_of_the_language_is_one_token() -> None:
    words = language_words(DEFAULT_PATH)
    assert all(len(TOKENIZER(word, add_special_tokens=False).input_ids) == 1 for word in words if word.isalpha())
    assert TOKENIZER.unk_token_id not in TOKENIZER("A Zebra, on the moon").input_ids


def test_pairs_differ_in_image_and_caption(pool: EditPool) -> None:
    assert 18 < len(pool) <= 18 + 35 and len(pool.scenes) == 36
    for pair in range(len(pool)):
        assert pool.captions[2 * pair] != pool.captions[2 * pair + 1]
        assert not torch.equal(pool.images[2 * pair], pool.images[2 * pair + 1])


def test_portrait_pairs_differ_in_one_attribute() -> None:
    before, after = training_portrait_pairs(70, 0)
    assert len(before) == len(after) == 70
    changed = (before.attributes != after.attributes).sum(1)
    hair = before.attributes[:, attribute_index("black_hair") :] != after.attributes[:, attribute_index("black_hair") :]
    assert torch.equal(changed, torch.where(hair.any(1), 2, 1))


def test_agreement_marks_the_words_that_the_image_contradicts() -> None:
    asked, own = ["a", "red", "ball", "left", "of", "a", "box"], ["a", "blue", "ball", "right", "of", "a", "box"]
    ids = {word: number for number, word in enumerate({*asked, *own})}
    assert agreement([ids[w] for w in asked], [ids[w] for w in own]) == [1, 0, 1, 0, 1, 1, 1]


def test_patches_are_labelled_with_their_object() -> None:
    ball = SceneObject("ball", "red", "large", x=24.0, y=40.0, radius=15.0)
    scene = Scene((ball,), "plain", (0.5,) * 12)
    labels = patch_labels([scene], render_scenes([scene])[1])[0].view(3, 8, 8)
    inside = [list(CLASSES).index("ball") + 1, list(COLOURS).index("red") + 1, 2]
    assert labels[:, 4, 2].tolist() == labels[:, 5, 3].tolist() == inside
    assert labels[:, 0, 7].tolist() == labels[:, 0, 0].tolist() == [0, 0, 0]


def batch_of(pool: EditPool, **changes: float) -> VqaBatches:
    settings = {"pairs": 6, "scene_share": 0.5, "paraphrased": 0.0, "foreign": 0.0} | changes
    return VqaBatches(pool, TOKENIZER, **settings)  # type: ignore[arg-type]


def test_a_caption_alone_does_not_tell_the_answer(pool: EditPool) -> None:
    """Every question of a pair is asked of both images and is true of one of them."""
    drawn = batch_of(pool)(0, Generator().manual_seed(1))
    assert drawn.images.shape == (12, 3, 64, 64) and len(drawn.row) == 24
    answers: dict[tuple[int, tuple[int, ...]], list[bool]] = {}
    for row, tokens, answer in zip(drawn.row.tolist(), drawn.tokens.tolist(), drawn.answer.tolist(), strict=True):
        answers.setdefault((row // 2, tuple(tokens)), []).append(answer)
    assert len(answers) == 12
    assert all(sorted(found) == [False, True] for found in answers.values())
    own = drawn.agrees[drawn.answer]
    assert set(own[own != IGNORED].tolist()) == {1}


def test_batches_depend_on_the_generator_only_and_paraphrase(pool: EditPool) -> None:
    first, second = (batch_of(pool, paraphrased=1.0)(0, Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens) and torch.equal(first.images, second.images)
    known = {text_of(tokens) for tokens in pool.tokens}
    assert sum(text_of(tokens) not in known for tokens in first.tokens.tolist()) > 12
    assert set(first.agrees.flatten().tolist()) == {IGNORED}
    foreign = batch_of(pool, foreign=1.0)(0, Generator().manual_seed(3))
    assert len(foreign.row) == 24 + 12
    assert int(foreign.answer.sum()) == 18


def test_loss_reaches_every_weight_that_is_shipped(pool: EditPool) -> None:
    torch.manual_seed(0)
    network = VqaWithReadings(build_blip(TINY, TOKENIZER))
    drawn = batch_of(pool, foreign=0.5)(0, Generator().manual_seed(0))
    loss = vqa_loss(network, drawn, (6, 7), 3, {"patches": 0.5, "whole": 1.0, "tokens": 1.0})
    loss.backward()
    assert bool(loss.isfinite())
    missing = [name for name, value in network.named_parameters() if value.grad is None]
    assert missing == []


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blip = build_blip(TINY, TOKENIZER)
    save_vqa(blip, TOKENIZER, tmp_path / "vqa")
    names = {file.name for file in (tmp_path / "vqa").iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "vocab.txt"}
    read = VqaEvaluator.load(tmp_path / "vqa")
    images = render_scenes(sample_scenes(2, 1))[0]
    texts = ["a small red ball in a room", "a zebra"]
    kept = VqaEvaluator(blip.eval(), TOKENIZER, (64, 64), (0.5,) * 3, (0.25,) * 3)
    torch.testing.assert_close(read.probability(images, texts), kept.probability(images, texts), atol=1e-3, rtol=1e-2)
    assert (tmp_path / "vqa" / "vocab.txt").read_text().split("\n")[:5] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ]


class Reader:
    """Knows which caption is true of which image."""

    def __init__(self, edits: list[Edit]) -> None:
        self.known = {edit.before.tobytes(): edit.source_caption for edit in edits}
        self.known |= {edit.after.tobytes(): edit.target_caption for edit in edits}

    def probability(self, images: Tensor, *captions: list[str]) -> Tensor:
        own = [self.known[image.permute(1, 2, 0).contiguous().numpy().tobytes()] for image in images]
        return torch.tensor([[float(text == mine) for text in row] for mine, *row in zip(own, *captions, strict=True)])


def test_forced_choice_of_a_judge_that_knows_and_of_one_that_always_says_the_same() -> None:
    edits = scene_edits(9, 5, load_language())
    before, after = choices(Reader(edits), edits)  # type: ignore[arg-type]
    assert choice_accuracy(before, after).tolist() == [1.0] * 9
    same = torch.tensor([[0.2, 0.7]]).repeat(9, 1)  # prefers the target whatever it sees
    assert choice_accuracy(same, same).tolist() == [0.5] * 9
    assert choice_accuracy(after, before).tolist() == [0.0] * 9


# The shipped model ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> VqaEvaluator:
    return VqaEvaluator.load(SHIPPED)


def test_the_shipped_model_chooses_as_its_provenance_says(judge: VqaEvaluator) -> None:
    """On edits that neither its training nor its scores have seen."""
    seed, language = stable_seed("test", "vqa"), load_language()
    scores = json.loads((SHIPPED / "provenance.json").read_text())["scores"]
    sessions = [edit for turns in sample_sessions(120, seed, language) for edit in turns]
    for name, edits in (("scenes", scene_edits(180, seed, language)), ("sessions", sessions)):
        found = float(choice_accuracy(*choices(judge, edits)).mean())
        assert abs(found - scores[f"choice_{name}"]) < 0.08  # about three standard errors
