"""Training of the micro model for questions: transformers' BLIP, tiny, on edits of scenes and portraits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import DEFAULT_PATH, load_language
from editfrontier.microworld.edits import Edit, portrait_edits, scene_edits
from editfrontier.microworld.portraits import ATTRIBUTES
from editfrontier.microworld.sessions import sample_sessions
from editfrontier.microworld.shapes import BACKGROUNDS, CLASSES, COLOURS
from editfrontier.microworld.zoo.evaluators import record, settings_of
from editfrontier.microworld.zoo.evaluators_data import held_out_seed, resampled
from editfrontier.microworld.zoo.evaluators_vqa_data import IGNORED, PATCH, VqaBatch, VqaBatches, build_pool
from editfrontier.microworld.zoo.loop import train
from editfrontier.microworld.zoo.provenance import half_precision
from editfrontier.microworld.zoo.tokenizer import language_words
from editfrontier.scoring.evaluators.vqa import NO, PREPROCESSOR, QUESTION, YES, VqaEvaluator
from editfrontier.statistics.detection import auroc

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
IMAGE_SIZE = 64
HELD_OUT = {"scenes": 1800, "portraits": 700, "sessions": 600}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-/"


def build_vqa_tokenizer(words: Sequence[str], max_length: int) -> Any:
    """Build a word-piece tokenizer in BERT's format: one piece a word, letters for all others."""
    from transformers import BertTokenizerFast

    asked = [YES, NO, *QUESTION.replace('"{caption}"?', "").split()]
    pieces = [*_SPECIAL, *_SYMBOLS, *("##" + letter for letter in _SYMBOLS), *sorted({*words, *asked})]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=max_length)


def build_blip(config: Mapping[str, Any], tokenizer: Any) -> Any:
    """Build a BlipForQuestionAnswering of the config's `vision` and `text`.

    As in the published model, the tokens [DEC] and [ENC] follow those of the tokenizer.
    """
    from transformers import BlipConfig, BlipForQuestionAnswering

    vision, text = dict(config["vision"]), dict(config["text"])
    return BlipForQuestionAnswering(
        BlipConfig(
            text_config={
                "vocab_size": len(tokenizer) + 2,
                "bos_token_id": len(tokenizer),
                "pad_token_id": tokenizer.pad_token_id,
                "sep_token_id": tokenizer.sep_token_id,
                "eos_token_id": tokenizer.sep_token_id,
                "projection_dim": text["hidden_size"],
                **text,
            },
            # The default of the range, 1e-10, is meant for weights that are loaded.
            vision_config={"image_size": IMAGE_SIZE, "patch_size": PATCH, "initializer_range": 0.02, **vision},
            projection_dim=text["hidden_size"],
            image_text_hidden_size=text["hidden_size"],
        )
    )


class VqaWithReadings(nn.Module):
    """BLIP and, only for training, linear readings of the image.

    Of each patch: class, colour and size of its object; of the whole: background and attributes; of each token of the
    question: whether it agrees with the image.
    """

    def __init__(self, blip: Any) -> None:
        super().__init__()
        width, text = blip.config.vision_config.hidden_size, blip.config.text_config.hidden_size
        self.blip = blip
        self.kinds = (len(CLASSES) + 1, len(COLOURS) + 1, 3)
        self.patches = nn.Linear(width, sum(self.kinds))
        self.whole = nn.Linear(width, len(BACKGROUNDS) + len(ATTRIBUTES))
        self.tokens = nn.Linear(text, 1)


def vqa_loss(network: Any, data: VqaBatch, answers: tuple[int, int], end: int, weights: Mapping[str, float]) -> Tensor:
    """Return the weighted cross-entropies of the answer, of the token that ends it, and of the readings."""
    blip = network.blip
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    seen = blip.vision_model(pixel_values=(data.images - mean) / std).last_hidden_state
    question = blip.text_encoder(
        input_ids=data.tokens, attention_mask=data.mask, encoder_hidden_states=seen[data.row], is_decoder=False
    ).last_hidden_state
    start = torch.full_like(data.row, blip.config.text_config.bos_token_id)
    answer = torch.where(data.answer, answers[0], answers[1])
    # transformers (5.23) drops this mask, so that the answer sees the padding here; the evaluator never pads.
    logits = blip.text_decoder(
        input_ids=torch.stack([start, answer], 1),
        encoder_hidden_states=question,
        encoder_attention_mask=data.mask,
        use_cache=False,
    ).logits.float()
    cross = functional.cross_entropy
    loss = cross(logits[:, 0], answer) + 0.1 * cross(logits[:, 1], torch.full_like(answer, end))
    known = data.agrees != IGNORED
    read = network.tokens(question)[..., 0].float()
    bce = functional.binary_cross_entropy_with_logits
    loss = loss + weights["tokens"] * bce(read[known], data.agrees[known].float())
    parts = network.patches(seen[:, 1:]).float().split(network.kinds, dim=2)
    for kind, part in enumerate(parts):
        labels = data.patches[:, kind].flatten()
        loss = loss + weights["patches"] * cross(part.flatten(0, 1), labels, ignore_index=IGNORED)
    whole = network.whole(seen[:, 0]).float()
    loss = loss + weights["whole"] * cross(whole[:, : len(BACKGROUNDS)], data.background, ignore_index=IGNORED)
    people = data.attributes[:, 0].isfinite()
    return loss + weights["whole"] * bce(whole[people, len(BACKGROUNDS) :], data.attributes[people])


def choices(judge: VqaEvaluator, edits: Sequence[Edit], *, mild: int | None = None) -> tuple[Tensor, Tensor]:
    """Ask both images of each edit for both captions.

    mild: seed of a mild round trip of the images; None = as rendered.

    Returns:
        The answers before and after, [N, 2] each: P(yes) of the source caption and of the target caption.
    """
    texts = [edit.source_caption for edit in edits], [edit.target_caption for edit in edits]

    def answers(name: str) -> Tensor:
        images = torch.stack([torch.from_numpy(getattr(edit, name)).permute(2, 0, 1) for edit in edits])
        return judge.probability(images if mild is None else resampled(images, mild), *texts)

    return answers("before"), answers("after")


def choice_accuracy(before: Tensor, after: Tensor) -> Tensor:
    """Return the balanced accuracy of the forced choice for each edit, 0, 0.5 or 1; answers as from `choices`."""
    return ((before[:, 0] > before[:, 1]).float() + (after[:, 1] > after[:, 0]).float()) / 2


def vqa_scores(judge: VqaEvaluator, seed: int, counts: Mapping[str, int] = HELD_OUT) -> dict[str, float]:
    """Return the held-out forced choice by kind of edit, and how well P(yes) alone separates the two captions."""
    language, held_out = load_language(), held_out_seed(seed)
    scenes, portraits = (
        make(counts[name], held_out, language)
        for make, name in ((scene_edits, "scenes"), (portrait_edits, "portraits"))
    )
    sessions = [edit for turns in sample_sessions(counts["sessions"], held_out, language) for edit in turns]
    scores: dict[str, float] = {}
    for name, edits in (("scenes", scenes), ("portraits", portraits), ("sessions", sessions)):
        before, after = choices(judge, edits)
        right = choice_accuracy(before, after)
        scores[f"choice_{name}"] = float(right.mean())
        answers = torch.cat([before.flatten(), after.flatten()])
        truth = torch.tensor([[True, False]] * len(edits) + [[False, True]] * len(edits)).flatten()
        scores[f"roc_auc_{name}"] = auroc(answers[truth], answers[~truth])
        said = answers > 0.5
        scores[f"balanced_accuracy_{name}"] = float((said[truth].float().mean() + (~said[~truth]).float().mean()) / 2)
        mild = choice_accuracy(*choices(judge, edits, mild=seed + 1))
        scores[f"choice_{name}_resampled"] = float(mild.mean())
        if name != "sessions":
            kinds = [edit.attribute or edit.edit_type for edit in edits]
            for kind in dict.fromkeys(kinds):
                scores[f"choice_{kind}"] = float(right[torch.tensor([other == kind for other in kinds])].mean())
    return scores


def save_vqa(blip: Any, tokenizer: Any, out: Path) -> None:
    """Write the layout of the hub, weights in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    with half_precision(blip):
        blip.save_pretrained(str(out), safe_serialization=True)
    tokenizer.save_pretrained(str(out))
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (out / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
    specials = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), _SPECIAL, strict=True))
    (out / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n", encoding="utf-8")
    size = blip.config.vision_config.image_size
    preprocessing = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(MEAN),
        "image_processor_type": "BlipImageProcessor",
        "image_std": list(STD),
        "processor_class": "BlipProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }
    (out / PREPROCESSOR).write_text(json.dumps(preprocessing, indent=2) + "\n", encoding="utf-8")


def train_vqa(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train on questions about both images of an edit with both captions, and on the readings."""
    tokenizer = build_vqa_tokenizer(language_words(DEFAULT_PATH), config["text"]["max_position_embeddings"])
    pool = build_pool(config["pairs"]["scenes"], config["pairs"]["portraits"], config["seed"], tokenizer)
    torch.manual_seed(stable_seed("train", "vqa", "init", config["seed"]))
    network = VqaWithReadings(build_blip(config, tokenizer))
    batches = VqaBatches(pool, tokenizer, **config["batch"])
    answers = tuple(int(tokenizer.convert_tokens_to_ids(word)) for word in (YES, NO))

    def loss(model: nn.Module, data: VqaBatch) -> Tensor:
        return vqa_loss(model, data, (answers[0], answers[1]), tokenizer.sep_token_id, config["readings"])

    result = train("vqa", network, batches, loss, settings_of(config), work)
    network.load_state_dict(result.model_state)
    save_vqa(network.blip, tokenizer, out)
    record("vqa", out, config, result, vqa_scores(VqaEvaluator.load(out), config["seed"]))
