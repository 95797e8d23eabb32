"""How well an image fits a caption, by the answer of a visual question answering model (VQAScore, arXiv 2404.01291).

The model is BLIP (Li et al. 2022, arXiv 2201.12086) in the hub's layout: config.json, model.safetensors,
preprocessor_config.json and the files of a BERT tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import FETCH_WEIGHTS, UserError
from editfrontier.scoring.networks.common import WEIGHTS, check_images, check_precision
from editfrontier.scoring.shapes import Images

QUESTION = 'does this image show "{caption}"?'
"""The question of VQAScore ('Does this figure show "{}"? Please answer yes or no.') as short as those BLIP was trained
on; its tokenizer drops capitals."""

YES, NO = "yes", "no"
PREPROCESSOR = "preprocessor_config.json"
_BICUBIC = 3


class VqaEvaluator:
    """The probability of "yes" to `QUESTION`, normalised over "yes" and "no".

    model: transformers' BlipForQuestionAnswering. tokenizer: its BERT tokenizer. size: height and width that the model
    takes. mean, std: by channel, of images in [0, 1].
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.model, self.tokenizer, self.size, self.device = model, tokenizer, size, device
        self.mean = torch.tensor(mean, device=device)[:, None, None]
        self.std = torch.tensor(std, device=device)[:, None, None]
        self.bf16 = check_precision(precision)
        self.answers = [_answer_token(tokenizer, answer) for answer in (YES, NO)]
        # [DEC] in BLIP's words: it is in the config only, the published tokenizer does not know it.
        self.start = int(model.config.text_config.bos_token_id)

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> VqaEvaluator:
        """Load the model from a folder in the hub's layout; nothing is fetched.

        Raises:
            UserError: the folder holds no BLIP for questions, or its files cannot be read.
        """
        from transformers import BertTokenizerFast, BlipForQuestionAnswering

        folder = Path(path)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if config.get("model_type") != "blip":
                raise ValueError(f"model_type is {config.get('model_type')!r}, expected 'blip'")
            if not (folder / WEIGHTS).is_file():
                raise ValueError(f"has no {WEIGHTS}")
            size, mean, std = _preprocessing(folder / PREPROCESSOR)
            model, report = BlipForQuestionAnswering.from_pretrained(
                str(folder), dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            # transformers fills what is missing with noise and only warns.
            if missing := sorted(report["missing_keys"]):
                raise ValueError(f"{WEIGHTS} has no '{missing[0]}' (and {len(missing) - 1} more)")
            if model.config.vision_config.image_size not in size:
                raise ValueError(f"{PREPROCESSOR} says {size}, the network {model.config.vision_config.image_size}")
            tokenizer = BertTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"{folder}: cannot be loaded as a BLIP that answers questions ({error}), expected config.json, "
                f"{WEIGHTS}, {PREPROCESSOR} and a BERT tokenizer. Run `snakemake zoo`, or `git checkout` the folder; "
                f"published weights come with {FETCH_WEIGHTS}"
            ) from error
        model = model.to(device).eval().requires_grad_(False)
        return cls(model, tokenizer, size, mean, std, device, precision)

    def probability(self, images: Images, *captions: Sequence[str], batch: int = 64) -> Float[Tensor, "batch captions"]:
        """How probable it is that each image shows its caption.

        Args:
            images: uint8 [B, 3, H, W]; other sizes are resized (bicubic, antialiased).
            captions: one or more lists of B captions; each image is read once for all of them.
            batch: images at a time.

        Returns:
            [B, number of lists] in [0, 1].

        Raises:
            UserError: a caption is longer than the model can read; it is never cut.
        """
        check_images(images)
        if not captions or any(len(texts) != len(images) for texts in captions):
            raise ValueError(f"expected lists of {len(images)} captions, got {[len(texts) for texts in captions]}")
        questions = [self._tokens(texts) for texts in captions]
        probabilities = torch.empty(len(images), len(captions))
        for start in range(0, len(images), batch):
            rows = range(start, min(start + batch, len(images)))
            asked = [(row, column, questions[column][row]) for row in rows for column in range(len(captions))]
            probabilities[start : start + batch] = self._judge(images[start : start + batch], start, asked)
        return probabilities

    @torch.no_grad()
    def _judge(self, images: Tensor, start: int, asked: Sequence[tuple[int, int, list[int]]]) -> Tensor:
        """Answers about images whose first is number `start`; asked: image, column and tokens of each question.

        Questions of one length are asked together: transformers (5.23) does not hand the mask of the question on to the
        attention of the answer, so that an answer would depend on padding, and with it on the rest of the batch.
        """
        probabilities = torch.empty(len(images), 1 + max(column for _, column, _ in asked))
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16):
            seen = self._see(images.to(self.device))
            for length in sorted({len(tokens) for _, _, tokens in asked}):
                rows, columns, tokens = zip(*(entry for entry in asked if len(entry[2]) == length), strict=True)
                place = torch.tensor(rows) - start
                ids = torch.tensor(tokens, device=self.device)
                logits = answer_logits(self.model, seen[place.to(self.device)], ids, self.start)
                probabilities[place, torch.tensor(columns)] = yes_probability(logits, *self.answers).cpu()
        return probabilities

    def _see(self, images: Tensor) -> Tensor:
        pixels = images.float() / 255
        if tuple(pixels.shape[-2:]) != self.size:
            pixels = functional.interpolate(pixels, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        seen: Tensor = self.model.vision_model(pixel_values=(pixels - self.mean) / self.std).last_hidden_state
        return seen

    def _tokens(self, captions: Sequence[str]) -> list[list[int]]:
        limit = int(self.model.config.text_config.max_position_embeddings)
        rows: list[list[int]] = self.tokenizer([QUESTION.format(caption=text) for text in captions]).input_ids
        for text, row in zip(captions, rows, strict=True):
            if len(row) > limit:
                raise UserError(
                    f"caption {text!r}: its question has {len(row)} tokens, expected at most {limit}. Shorten it"
                )
        return rows


def answer_logits(model: Any, seen: Tensor, tokens: Tensor, start: int) -> Tensor:
    """Logits of the first token of the answer.

    Args:
        model: BlipForQuestionAnswering. Its `forward` is not called: it makes a mask on the CPU for any device.
        seen: output of the vision model, [B, patches + 1, C].
        tokens: questions of one length, without padding, int [B, L].
        start: the token that begins an answer.

    Returns:
        [B, V].
    """
    question = model.text_encoder(input_ids=tokens, encoder_hidden_states=seen, is_decoder=False).last_hidden_state
    first = torch.full((len(tokens), 1), start, device=tokens.device)
    logits: Tensor = model.text_decoder(input_ids=first, encoder_hidden_states=question, use_cache=False).logits[:, 0]
    return logits


def yes_probability(logits: Tensor, yes: int, no: int) -> Tensor:
    """P(yes) / (P(yes) + P(no)) of the logits of a token [B, V]; [B] in [0, 1]."""
    return torch.sigmoid(logits[:, yes].float() - logits[:, no].float())


def _answer_token(tokenizer: Any, answer: str) -> int:
    ids = tokenizer(answer, add_special_tokens=False).input_ids
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise UserError(
            f"tokenizer of the evaluator vqa: '{answer}' is {len(ids)} tokens or none it knows, expected one token. "
            "Point the config at a model with the tokenizer of BERT."
        )
    return int(ids[0])


def _preprocessing(path: Path) -> tuple[tuple[int, int], list[float], list[float]]:
    """Size, mean and standard deviation of a preprocessor_config.json; raises what `load` takes for a bad folder."""
    content = json.loads(path.read_text(encoding="utf-8"))
    size = content["size"]
    shape = (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))
    if content.get("resample", _BICUBIC) != _BICUBIC:
        raise ValueError(f"{path.name}: resample is {content['resample']}, expected {_BICUBIC} (bicubic)")
    return shape, [float(v) for v in content["image_mean"]], [float(v) for v in content["image_std"]]
