"""The tiny T5 encoder by which the flow models read text, frozen: trained to guess the hidden words of a text.

FLUX and Stable Diffusion 3 use a T5 that was pretrained on text, and never train it. So does the zoo: the encoder
learns to name masked words (Devlin et al., 2019, sec. 3.1; the span corruption of T5 would need a decoder) of captions
and instructions, padded as the pipelines pad them, without an attention mask.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from editfrontier.base.errors import UserError
from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import DEFAULT_PATH, instructions, load_language, portrait_caption
from editfrontier.microworld.portraits import ATTRIBUTES, named_attributes, sample_portraits
from editfrontier.microworld.sessions import session_pairs
from editfrontier.microworld.zoo.data import DataSettings, load_data
from editfrontier.microworld.zoo.diffusion import tokenise
from editfrontier.microworld.zoo.editing_data import Captions
from editfrontier.microworld.zoo.loop import TrainResult, TrainSettings, train
from editfrontier.microworld.zoo.tokenizer import language_words

if TYPE_CHECKING:
    from transformers import T5EncoderModel, T5TokenizerFast

SPACE = "▁"
MASK = "<extra_id_0>"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()-/"
_IGNORE = -100


def build_t5_tokenizer(words: Iterable[str], max_length: int) -> T5TokenizerFast:
    """Build a unigram tokenizer in T5's format: one piece a word, letters for all others, one sentinel.

    max_length: tokens of a text with its end token (longer texts are cut).
    """
    from transformers import T5TokenizerFast

    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}
    # A known word as one piece is always likelier than its letters.
    pieces |= {SPACE + word: -5.0 for word in sorted(set(words))}
    pieces |= dict.fromkeys((SPACE, *_LETTERS), -10.0)
    tokenizer: T5TokenizerFast = T5TokenizerFast(vocab=list(pieces.items()), extra_ids=1, model_max_length=max_length)
    return tokenizer


def build_t5(config: Mapping[str, Any], tokenizer: T5TokenizerFast) -> T5EncoderModel:
    """Build an encoder of the config's `width`, `layers`, `heads` and `hidden`, in the layout of T5 v1.1."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=config["width"],
            d_kv=config["width"] // config["heads"],
            d_ff=config["hidden"],
            num_layers=config["layers"],
            num_heads=config["heads"],
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
        )
    )


def load_t5(folder: Path) -> tuple[T5EncoderModel, T5TokenizerFast]:
    """Load the zoo's encoder, frozen, in fp32, and its tokenizer; raise `UserError` if the folder holds none."""
    from transformers import T5EncoderModel, T5TokenizerFast

    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no T5 encoder here, expected config.json and weights. Train it: snakemake zoo")
    model = T5EncoderModel.from_pretrained(str(folder), dtype=torch.float32).eval().requires_grad_(False)
    return model, T5TokenizerFast.from_pretrained(str(folder))


class MaskedWords(nn.Module):
    """The encoder with a head that names the piece at each place; the head is not shipped."""

    def __init__(self, encoder: T5EncoderModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.d_model, encoder.config.vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, L, V] of tokens int64 [B, L]."""
        output: Tensor = self.head(self.encoder(tokens)[0])
        return output


def mask_words(tokens: Tensor, tokenizer: Any, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide a share of the pieces of tokens int64 [B, L]; return input and target, -100 where nothing is hidden.

    Of the hidden pieces 80% become the sentinel, 10% another piece, 10% stay; padding and the end stay.
    """
    chosen = (torch.rand(tokens.shape, generator=generator) < share) & (tokens > tokenizer.unk_token_id)
    how = torch.rand(tokens.shape, generator=generator)
    other = torch.randint(tokenizer.unk_token_id + 1, len(tokenizer) - 1, tokens.shape, generator=generator)
    hidden = torch.where(chosen & (how < 0.8), tokenizer.convert_tokens_to_ids(MASK), tokens)
    hidden = torch.where(chosen & (how >= 0.8) & (how < 0.9), other, hidden)
    return hidden, torch.where(chosen, tokens, _IGNORE)


def all_instructions() -> list[str]:
    """Return every instruction for an attribute of a portrait, also the free-form ones."""
    language = load_language()
    edits = [(name, value) for name in ATTRIBUTES for value in (True, False)]
    texts = [text for name, value in edits for text in instructions(language, name, value)]
    return texts + [form.text for name, value in edits for form in language.free_form(name, value)]


def train_t5(
    config: Mapping[str, Any], work: Path
) -> tuple[T5EncoderModel, T5TokenizerFast, TrainResult, dict[str, float]]:
    """Train `t5` on captions of portraits and scenes and on instructions; return encoder, tokenizer, result, scores."""
    entry = config["t5"]
    settings = TrainSettings(**entry["train"])
    data_settings = DataSettings(**config["data"])
    data = load_data(data_settings, work.parent / "data")
    tokenizer = build_t5_tokenizer(language_words(DEFAULT_PATH), entry["tokens"])
    captions = Captions(data, data_settings, tokenizer, 0.0)
    edits = all_instructions()
    edits += session_pairs(entry["scene_pairs"], stable_seed("train", "t5", settings.seed), portrait_share=0.0)[1]
    torch.manual_seed(stable_seed("train", "t5", "init", settings.seed))
    model = MaskedWords(build_t5(entry, tokenizer))
    batch = int(entry["batch"])

    def batch_fn(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rng = random.Random(generator.initial_seed())
        rows = torch.randint(len(data.images), (batch - batch // 4,), generator=generator)
        texts = captions.texts(rows, rng) + [rng.choice(edits) for _ in range(batch // 4)]
        return mask_words(tokenise(tokenizer, texts), tokenizer, entry["masked"], generator)

    def loss_fn(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]).float().flatten(0, 1), batch[1].flatten(), ignore_index=_IGNORE)

    result = train("t5", model, batch_fn, loss_fn, settings, work)
    model.load_state_dict(result.model_state)
    return model.encoder, tokenizer, result, score_t5(model, tokenizer, config)


@torch.no_grad()
def score_t5(model: MaskedWords, tokenizer: Any, config: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of masked and of shown pieces that the model names, on captions of unseen portraits."""
    held_out, language = config["held_out"], load_language()
    rng = random.Random(stable_seed("held-out", "t5", held_out["seed"]))
    generator = torch.Generator().manual_seed(stable_seed("held-out", "t5", held_out["seed"]))
    rows = sample_portraits(held_out["prompts"], seed=stable_seed("held-out", "t5", held_out["seed"])).attributes
    texts = [portrait_caption(language, named_attributes(row), rng) for row in rows]
    tokens = tokenise(tokenizer, texts)
    hidden, target = mask_words(tokens, tokenizer, config["t5"]["masked"], generator)
    right = model.eval()(hidden).argmax(-1) == tokens
    masked, shown = target != _IGNORE, (target == _IGNORE) & (tokens > tokenizer.unk_token_id)
    return {
        "masked_pieces": round(float(right[masked].float().mean()), 4),
        "shown_pieces": round(float((model(tokens).argmax(-1) == tokens)[shown].float().mean()), 4),
    }
