"""Latents instead of pixels between the steps of a chain: the autoencoder is not applied between steps.

An editor encodes the image that it gets and decodes the one that it returns. Between two steps of a chain both are
lost work, and lose detail each time. With `carry: latents` the decoder's input is kept next to the image, and encoding
exactly that image gives it back; every other image (one with its mask cut out, a source) is encoded as usual. Editors
know nothing of it, and neither do the pipelines that they call.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from editfrontier.base.errors import UserError
from editfrontier.base.files import write_bytes
from editfrontier.data.cases import read_image
from editfrontier.data.pixels import to_arrays
from editfrontier.editing.inputs import Carried
from editfrontier.editing.records import CaseRecord, latents_path

_SAME = 1e-3  # of the range [-1, 1]: an eighth of a grey level, more than rounding on the way through a pipeline
_CERTAIN = -30.0  # log variance of latents that are known, the least that diffusers lets a posterior have


@dataclass
class LatentCarry:
    """What goes through an autoencoder while a batch is edited.

    Attributes:
        known: 8-bit pixels of the images of the batch -> latents [C, h, w] that they were decoded from.
        decoded: latents and clamped images of each call of the decoder.
    """

    known: dict[bytes, Tensor]
    decoded: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def latents_of(self, images: Tensor) -> list[Tensor | None]:
        """Return the latents [C, h, w] that each of the images [B, 3, H, W] was decoded to; None for another image."""
        return [self._latents(row, image) for row, image in enumerate(images.detach().float().cpu())]

    def _latents(self, row: int, image: Tensor) -> Tensor | None:
        for latents, images in reversed(self.decoded):
            if images.shape[1:] != image.shape:
                continue
            order = [row, *range(len(images))] if row < len(images) else range(len(images))
            for place in order:
                if float((images[place] - image).abs().max()) <= _SAME:
                    return latents[place]
        return None


@contextmanager
def carrying(vae: Any, batch: Sequence[tuple[Any, Tensor | None]]) -> Iterator[LatentCarry]:
    """Let an autoencoder of diffusers give known latents back, and note its calls, within the block.

    Args:
        vae: an `AutoencoderKL`; its methods `encode` and `decode` are replaced and put back.
        batch: image uint8 [H, W, 3] and latents [C, h, w] of each case, None where they are not known. The latents
            are the autoencoder's, neither scaled nor shifted.
    """
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from diffusers.models.modeling_outputs import AutoencoderKLOutput

    replaced = {name: vars(vae).get(name) for name in ("encode", "decode")}
    encode, decode = vae.encode, vae.decode
    carry = LatentCarry({pixels.tobytes(): latents for pixels, latents in batch if latents is not None})

    def encode_known(images: Tensor, return_dict: bool = True) -> Any:
        rows = [carry.known.get(key) if key else None for key in _keys(images)] if carry.known else []
        if not any(row is not None for row in rows):
            return encode(images, return_dict=return_dict)
        known = all(row is not None for row in rows)
        # The whole batch, so that a row does not depend on which others are known.
        moments = None if known else encode(images).latent_dist.parameters
        parts = []
        for place, latents in enumerate(rows):
            if latents is None:
                assert moments is not None
                parts.append(moments[place])
            else:
                mean = latents.to(images.device, images.dtype)
                parts.append(torch.cat([mean, torch.full_like(mean, _CERTAIN)]))
        posterior = DiagonalGaussianDistribution(torch.stack(parts))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode_noting(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = decode(latents, *args, **kwargs)
        sample = output[0] if isinstance(output, tuple) else output.sample
        carry.decoded.append((latents.detach().float().cpu(), sample.detach().float().cpu().clamp(-1.0, 1.0)))
        return output

    vae.encode, vae.decode = encode_known, decode_noting
    try:
        yield carry
    finally:
        for name, function in replaced.items():
            delattr(vae, name)  # the method of the class shows again
            if function is not None:
                setattr(vae, name, function)


def _keys(images: Tensor) -> list[bytes | None]:
    """Return the 8-bit pixels of images [B, 3, H, W] in [-1, 1], None where they are not whole levels."""
    values = images.detach().float().cpu()
    levels = ((values + 1.0) * 127.5).round()
    whole = ((levels / 127.5 - 1.0) - values).abs().flatten(1).amax(1) <= _SAME
    return [array.tobytes() if good else None for array, good in zip(to_arrays(values), whole.tolist(), strict=True)]


# Files ----------------------------------------------------------------------------------------------------------------


def write_latents(path: Path, latents: Tensor | None) -> str:
    """Write latents [C, h, w], atomically, and return the file's sha256; None removes the file and returns ""."""
    if latents is None:
        path.unlink(missing_ok=True)
        return ""
    content = save({"latents": latents.float().contiguous()})
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_carried(row: CaseRecord, record: Path, folder: Path, carry: str) -> Carried:
    """Read what a step hands to the next one: its image and, with `carry` "latents", its latents if it has any.

    Args:
        row: of the step that is done.
        record: that its image is relative to.

    Raises:
        UserError: a file is missing or unreadable.
    """
    pixels = read_image(record.parent / row.image)
    path = latents_path(folder, row.case_id)
    if carry != "latents" or not json.loads(row.measures or "{}").get("latents_kept"):
        return Carried(pixels, None, "")
    try:
        content = path.read_bytes()
        latents = load(content)["latents"]
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(
            f"{path}: not readable latents ({error}). Delete the file and run the edit job again."
        ) from None
    return Carried(pixels, latents, hashlib.sha256(content).hexdigest())
