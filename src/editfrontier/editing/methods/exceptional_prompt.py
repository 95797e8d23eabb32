"""The exceptional prompt of TF-ICON (Lu et al., ICCV 2023): a text embedding that says nothing.

All tokens are the same ordinary one, without start, end and position. A causal transformer then gives the same vector
at every place, so that a diffusion model has nothing to attend to and its ODE is easier to invert.
"""

from __future__ import annotations

from typing import Any

import torch

from editfrontier.base.errors import UserError
from editfrontier.diffusion.sampling import TextEmbeddings

TOKEN = 7788
"""The token of the official code, of the vocabulary of CLIP (49408)."""


def exceptional_token(vocabulary: int) -> int:
    """Return the token of the exceptional prompt: 7788, or in a smaller vocabulary its remainder.

    The last two tokens of a vocabulary are start and end, and are left out of it.
    """
    return TOKEN if vocabulary > TOKEN else TOKEN % (vocabulary - 2)


def exceptional_prompt(model: Any, count: int) -> TextEmbeddings:
    """Embed the exceptional prompt for a number of cases: [count, L, D], with no empty prompt.

    The text encoder is used as the model's pipeline uses it. That of Stable Diffusion 2 is stored without its last
    layer, so its output is the penultimate layer under the final normalisation, as in the official code.

    Args:
        model: a pipeline with a CLIP `text_encoder` and its `tokenizer`.

    Raises:
        UserError: the text encoder has no table of positions to leave out.
    """
    encoder = model.text_encoder
    tables = [module for name, module in encoder.named_modules() if name.rpartition(".")[2] == "position_embedding"]
    if len(tables) != 1:
        raise UserError(
            f"text_encoder: {type(encoder).__name__} has {len(tables)} layers named position_embedding, expected one. "
            "Use a model with a CLIP text encoder."
        )
    length, token = int(model.tokenizer.model_max_length), exceptional_token(int(encoder.config.vocab_size))
    tokens = torch.full((1, length), token, device=encoder.device)
    handle = tables[0].register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    try:
        with torch.no_grad():
            embedding = encoder(tokens)[0].float()
    finally:
        handle.remove()
    return TextEmbeddings(embedding.expand(count, -1, -1), None)
