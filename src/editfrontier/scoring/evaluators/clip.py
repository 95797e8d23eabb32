"""CLIP through open_clip, from a local folder (open_clip_config.json, weights, tokenizer)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from editfrontier.base.errors import UserError
from editfrontier.scoring.networks.common import NetworkEvaluator, Unfilled, batched
from editfrontier.scoring.shapes import Embeddings, Images

CONFIG = "open_clip_config.json"


class ClipEvaluator(NetworkEvaluator):
    """Image and text embeddings in one space (Radford et al. 2021).

    model: open_clip's CLIP. tokenizer: list of strings -> int [B, context]. end: the token that closes a text.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        end: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        super().__init__(model, device, precision)
        self.tokenizer, self.end = tokenizer, end
        self.mean = torch.tensor(mean, device=device)[:, None, None]
        self.std = torch.tensor(std, device=device)[:, None, None]
        size = getattr(model.visual, "image_size", None)
        self.size = tuple(size) if isinstance(size, tuple | list) else (size, size)

    @classmethod
    def load(
        cls, path: Path, device: str = "cpu", precision: str = "fp32", quick_gelu: bool | None = None
    ) -> ClipEvaluator:
        """Load CLIP from a folder.

        Args:
            path: folder in open_clip's local-dir layout.
            device: where it runs.
            precision: "fp32" or "bf16".
            quick_gelu: whether it was trained with the activation x sigmoid(1.702 x), as all models of OpenAI were;
                None = as the folder's config says. open_clip runs a network with another activation than its own
                without more than a warning.

        Raises:
            UserError: the folder holds no CLIP, or one that the config says has another activation.
        """
        import open_clip

        folder = Path(path)
        try:
            config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            preprocess = config["preprocess_cfg"]
            if quick_gelu is False and config["model_cfg"].get("quick_gelu"):
                raise ValueError("its config says quick_gelu, the registry does not")
            with Unfilled():  # open_clip reads all weights or none, and then raises
                model = open_clip.create_model(
                    f"local-dir:{folder}", device=device, require_pretrained=True, force_quick_gelu=bool(quick_gelu)
                )
            tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(
                f"{folder}: cannot be loaded as a CLIP ({error}), expected {CONFIG}, weights and a tokenizer. "
                "Run `snakemake zoo`, or `git checkout` the folder"
            ) from error
        inner = getattr(tokenizer, "tokenizer", None)
        end = inner.eos_token_id if inner is not None else tokenizer.eot_token_id
        model.eval().requires_grad_(False)
        return cls(model, tokenizer, end, tuple(preprocess["mean"]), tuple(preprocess["std"]), device, precision)

    def image(self, images: Images) -> Embeddings:
        """Return unit vectors. Images of another size are resized (bicubic, antialiased)."""

        def encode(x: Tensor) -> Tensor:
            pixels = x.float() / 255
            if tuple(pixels.shape[-2:]) != self.size:
                pixels = functional.interpolate(pixels, self.size, mode="bicubic", antialias=True).clamp(0, 1)
            vectors = self.network.encode_image((pixels - self.mean) / self.std)
            return functional.normalize(vectors.float(), dim=1)

        return self.run(encode, images)

    def text(self, texts: list[str]) -> Float[Tensor, "texts dim"]:
        """Return unit vectors; raise `UserError` for a caption beyond the token limit, which is never cut."""
        tokens = self.tokenizer(texts)
        self._check_length(texts, tokens)

        def encode(x: Tensor) -> Tensor:
            return functional.normalize(self.network.encode_text(x).float(), dim=1)

        return batched(encode, tokens, device=self.device, bf16=self.bf16)

    def _token_count(self, text: str) -> int:
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None:
            return len(inner(text)["input_ids"])
        # open_clip's SimpleTokenizer does not count the start and the end.
        return len(self.tokenizer.encode(text)) + 2  # type: ignore[attr-defined]

    def _check_length(self, texts: list[str], tokens: Tensor) -> None:
        # Where the end stands before the last place, the text was not cut; elsewhere only a second count can tell.
        full = (~(tokens[:, :-1] == self.end).any(1)).tolist()
        for text in (text for text, suspect in zip(texts, full, strict=True) if suspect):
            count, limit = self._token_count(text), tokens.shape[1]
            if count > limit:
                raise UserError(f"caption {text!r}: has {count} tokens, expected at most {limit}. Shorten it")
