"""Training of the micro CLIP: a real open_clip model on captions of portraits and scenes."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import DEFAULT_PATH, load_language, portrait_caption
from editfrontier.microworld.portraits import named_attributes
from editfrontier.microworld.scenes import Scene, scene_caption
from editfrontier.microworld.zoo.evaluators import part_of, record, save_model, settings_of
from editfrontier.microworld.zoo.evaluators_data import augment, pools, resampled, scene_pools, to_float
from editfrontier.microworld.zoo.loop import train
from editfrontier.microworld.zoo.tokenizer import build_tokenizer, language_words, save_tokenizer
from editfrontier.scoring.evaluators.clip import CONFIG, ClipEvaluator

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CANONICAL_SHARE = 0.3
CHOICES = 32
WORDS = re.compile(r"[a-z]+|[^\sa-z]")


def portrait_captions(attributes: Tensor, seed: int | None) -> list[str]:
    """Return captions of portraits with attributes bool [N, 20]; seed None gives the canonical wording."""
    language = load_language()
    rng = random.Random(seed) if seed is not None else None
    return [portrait_caption(language, named_attributes(row), rng) for row in attributes]


@dataclass
class Captioned:
    """Images of portraits, then of scenes, and the content of their captions.

    caption_id [N]: equal for equal canonical captions. words [N, W]: the content words of the canonical caption.
    """

    images: Tensor
    attributes: Tensor
    scenes: list[Scene]
    canonical: list[str]
    caption_id: Tensor
    words: Tensor

    def captions(self, index: list[int], rng: random.Random) -> list[str]:
        """Draw captions of some rows, mostly paraphrased, partly canonical."""
        language, count, texts = load_language(), len(self.attributes), []
        for row in index:
            if rng.random() < CANONICAL_SHARE:
                texts.append(self.canonical[row])
            elif row < count:
                texts.append(portrait_caption(language, named_attributes(self.attributes[row]), rng))
            else:
                texts.append(scene_caption(self.scenes[row - count], rng, language))
        return texts


def captioned(images: Tensor, attributes: Tensor, scene_images: Tensor, scenes: list[Scene]) -> Captioned:
    """Join portraits and scenes, and derive the labels of the objective."""
    language = load_language()
    canonical = portrait_captions(attributes, None) + [scene_caption(scene, None, language) for scene in scenes]
    ids = {text: number for number, text in enumerate(dict.fromkeys(canonical))}
    split = [set(text.replace(",", " ").split()) for text in canonical]
    counts = Counter(word for content in split for word in content)
    # Words of nearly every caption, or of hardly any, teach nothing.
    known = sorted(word for word, count in counts.items() if 0.002 < count / len(canonical) < 0.9)
    column = {word: number for number, word in enumerate(known)}
    words = torch.zeros(len(canonical), len(known), dtype=torch.bool)
    for row, content in enumerate(split):
        words[row, [column[word] for word in content if word in column]] = True
    caption_id = torch.tensor([ids[text] for text in canonical])
    return Captioned(torch.cat([images, scene_images]), attributes, scenes, canonical, caption_id, words)


@dataclass
class ClipBatch:
    """images float [B, 3, 64, 64], normalised; tokens int [B, context]; caption_id [B]; words float [B, W]."""

    images: Tensor
    tokens: Tensor
    caption_id: Tensor
    words: Tensor


class ClipWithWords(nn.Module):
    """CLIP and, only for training, a linear reading of the caption's content words from both embeddings."""

    def __init__(self, clip: nn.Module, embedding: int, words: int) -> None:
        super().__init__()
        self.clip = clip
        self.from_image = nn.Linear(embedding, words)
        self.from_text = nn.Linear(embedding, words)


class WordTokens:
    """The tokenizer with a cache of the ids of each word: much faster on captions of few words, with equal results."""

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.tokenizer, self.context = tokenizer, context
        self.known: dict[str, list[int]] = {}

    def __call__(self, texts: list[str]) -> Tensor:
        """Return int [B, context]; raise ValueError if a text is too long."""
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        rows = torch.full((len(texts), self.context), end)
        for row, text in enumerate(texts):
            ids = [start]
            for word in WORDS.findall(text):
                if word not in self.known:
                    self.known[word] = self.tokenizer(word, add_special_tokens=False).input_ids
                ids += self.known[word]
            if len(ids) >= self.context:
                raise ValueError(f"caption {text!r} has {len(ids) + 1} tokens, expected at most {self.context}")
            rows[row, : len(ids)] = torch.tensor(ids)
        return rows


def clip_loss(network: Any, data: ClipBatch, word_weight: float) -> Tensor:
    """Return the symmetric contrastive loss (equal captions share the target) plus that of the content words."""
    image = network.clip.encode_image(data.images).float()
    text = network.clip.encode_text(data.tokens).float()
    with torch.autocast(image.device.type, enabled=False):
        scale = network.clip.logit_scale.clamp(max=4.6052).exp()
        logits = scale * functional.normalize(image, dim=1) @ functional.normalize(text, dim=1).T
        same = (data.caption_id[:, None] == data.caption_id[None]).float()
        target = same / same.sum(1, keepdim=True)
        contrastive = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        bce = functional.binary_cross_entropy_with_logits
        reading = bce(network.from_image(image), data.words) + bce(network.from_text(text), data.words)
    return contrastive + word_weight * reading


def retrieval(judge: ClipEvaluator, images: Tensor, captions: list[str], seed: int) -> dict[str, float]:
    """Return the accuracy of choosing an image's caption among CHOICES different random captions, and the reverse."""
    image, text = judge.image(images), judge.text(captions)
    similarity = image @ text.T
    generator = Generator().manual_seed(stable_seed("clip retrieval", seed))
    hits, back = [], []
    for row in range(len(images)):
        others = torch.randperm(len(images), generator=generator).tolist()
        chosen = [other for other in others if captions[other] != captions[row]][: CHOICES - 1]
        hits.append(bool((similarity[row, row] > similarity[row, chosen]).all()))
        back.append(bool((similarity[row, row] > similarity[chosen, row]).all()))
    return {
        "caption_of_32": sum(hits) / len(hits),
        "image_of_32": sum(back) / len(back),
        "cosine_own": float(similarity.diagonal().mean()),
        "cosine_other": float((similarity.sum() - similarity.diagonal().sum()) / (similarity.numel() - len(images))),
    }


def clip_scores(judge: ClipEvaluator, held_out: Captioned, seed: int) -> dict[str, float]:
    """Return retrieval scores on portraits (canonical, paraphrased, mildly resampled images) and on scenes."""
    count = len(held_out.attributes)
    portraits, scenes = held_out.images[:count], held_out.images[count:]
    canonical = held_out.canonical[:count]
    paraphrased = portrait_captions(held_out.attributes, stable_seed("clip paraphrases", seed))
    scores = retrieval(judge, portraits, canonical, seed)
    scores["caption_of_32_resampled"] = retrieval(judge, resampled(portraits, seed), canonical, seed)["caption_of_32"]
    scores["caption_of_32_paraphrased"] = retrieval(judge, portraits, paraphrased, seed)["caption_of_32"]
    scores["caption_of_32_scenes"] = retrieval(judge, scenes, held_out.canonical[count:], seed)["caption_of_32"]
    return scores


def train_clip(config: dict[str, Any], out: Path, work: Path) -> None:
    """Train contrastively with paraphrased captions; write open_clip's local-dir layout with the tokenizer."""
    from open_clip.model import CLIP

    pool, others = pools(config, work)
    (scene_images, scenes), (other_images, other_scenes) = scene_pools(config, work)
    data = captioned(pool.images, pool.attributes, scene_images, scenes)
    held_out = captioned(others.images[::2], others.attributes[::2], other_images, other_scenes)
    context = config["text"]["context_length"]
    tokenizer = build_tokenizer(language_words(DEFAULT_PATH), context)
    tokens = WordTokens(tokenizer, context)
    text_config = {**config["text"], "vocab_size": len(tokenizer)}
    clip = CLIP(config["embedding"], config["vision"], text_config)
    model = ClipWithWords(clip, config["embedding"], data.words.shape[1])
    model = model.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    count = len(data.attributes)

    def batch(step: int, generator: Generator) -> ClipBatch:
        seen = round(config["batch"] * config["scene_share"])
        who = torch.randint(count, (config["batch"] - seen,), generator=generator)
        index = torch.cat([who, count + torch.randint(len(data.scenes), (seen,), generator=generator)])
        images = (augment(to_float(data.images[index]), generator, 0.25) - mean) / std
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        texts = data.captions(index.tolist(), rng)
        images = images.contiguous(memory_format=torch.channels_last)
        return ClipBatch(images, tokens(texts), data.caption_id[index], data.words[index].float())

    def loss(network: nn.Module, drawn: ClipBatch) -> Tensor:
        # On a CPU the fused attention's backward pass takes three times as long as the plain one at this size.
        with sdpa_kernel(SDPBackend.MATH):
            return clip_loss(network, drawn, config["word_weight"])

    result = train("clip", model, batch, loss, settings_of(config), work)
    description = {
        "model_cfg": {
            "embed_dim": config["embedding"],
            "vision_cfg": config["vision"],
            # open_clip reads the tokenizer of a local-dir folder, whatever its name; a name selects the HF class.
            "text_cfg": {**text_config, "hf_tokenizer_name": "micro"},
        },
        "preprocess_cfg": {"mean": list(MEAN), "std": list(STD), "interpolation": "bicubic"},
    }
    weights = part_of(result.model_state, "clip")
    save_model(weights, {"architecture": "clip"}, out, "open_clip_model.safetensors")
    (out / CONFIG).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    save_tokenizer(tokenizer, out)
    record("clip", out, config, result, clip_scores(ClipEvaluator.load(out), held_out, config["seed"]))
