"""Agreement of images, and of image and caption, in a space of embeddings; CLIP's are unit vectors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from editfrontier.scoring.metrics.metric import Metric

if TYPE_CHECKING:
    from editfrontier.scoring.batch import Batch
    from editfrontier.scoring.shapes import Embeddings, Exact, Values

CLIP_SCORE_WEIGHT = 2.5
NO_CHANGE = 1e-4
"""A move of an embedding shorter than this is rounding, not a change (unit vectors in fp32 differ by about 1e-6)."""


def cosine(a: Embeddings, b: Embeddings) -> Exact:
    """Cosine of embeddings of any length, in [-1, 1]; NaN where one is 0 or NaN."""
    a, b = a.double(), b.double()
    return ((a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).clamp(-1, 1)


def clip_cosine(image: Embeddings, text: Embeddings) -> Exact:
    """Cosine of image and text embeddings of unit length, in [-1, 1]."""
    return (image.double() * text.double()).sum(dim=1).clamp(-1, 1)


def clip_score(cosine: Values) -> Values:
    """2.5 max(cosine, 0), each image by itself (Hessel et al. 2021)."""
    return CLIP_SCORE_WEIGHT * cosine.clamp(min=0)


def clip_directional(
    source_image: Embeddings, edited_image: Embeddings, source_text: Embeddings, target_text: Embeddings
) -> Exact:
    """Cosine of the image change and the caption change, all inputs unit vectors.

    0 where the image does not change: no change is no move in the asked direction. NaN where the captions do not
    differ or one is NaN (missing): then no direction was asked for.
    """
    image_move = edited_image.double() - source_image.double()
    text_move = target_text.double() - source_text.double()
    image_length, text_length = image_move.norm(dim=1), text_move.norm(dim=1)
    cosine = (image_move * text_move).sum(dim=1) / (image_length * text_length).clamp(min=1e-12)
    cosine = cosine.clamp(-1, 1).masked_fill(image_length < NO_CHANGE, 0.0)
    return cosine.masked_fill(~(text_length >= NO_CHANGE), float("nan"))


def _clip_cos(batch: Batch) -> Exact:
    return clip_cosine(batch.outputs["clip_image"], batch.sources.text("target_text_row", batch.ids))


def _clip_score(batch: Batch) -> Exact:
    return clip_score(_clip_cos(batch))


def _clip_directional(batch: Batch) -> Exact:
    texts = (batch.sources.text(key, batch.ids) for key in ("source_text_row", "target_text_row"))
    return clip_directional(batch.sources.by_image("clip_image", batch.ids), batch.outputs["clip_image"], *texts)


_by_clip = partial(Metric, group="controllability", needs="clip")

METRICS = (
    _by_clip(
        name="clip_cos",
        label="CLIP cos",
        direction="higher",
        range=(-1.0, 1.0),
        description="Cosine of the CLIP embeddings of the edited image and the target caption.",
        source="CLIP, Radford et al. 2021; called CLIP-T in MagicBrush.",
        compute=_clip_cos,
        inputs=("readable_target",),
        undefined="the case has no target caption",
    ),
    _by_clip(
        name="clip_score",
        label="CLIPScore",
        direction="higher",
        range=(0.0, 2.5),
        description="2.5 max(CLIP cosine, 0) of the edited image and the target caption, clipped for each image by "
        "itself.",
        source="CLIPScore, Hessel et al. 2021, without the prompt prefix.",
        compute=_clip_score,
        inputs=("readable_target",),
        undefined="the case has no target caption",
        paper="clip_align",  # its 0.55 to 0.74 can be reached as CLIPScore alone (erratum E9)
    ),
    _by_clip(
        name="clip_directional",
        label="CLIP dir",
        direction="higher",
        range=(-1.0, 1.0),
        description="Cosine of the change between the images and the change between the captions in CLIP space; 0 when "
        "the image does not change.",
        source="StyleGAN-NADA, Gal et al. 2021; InstructPix2Pix, Brooks et al. 2023.",
        compute=_clip_directional,
        inputs=("readable_target", "readable_source"),
        undefined="source and target caption are equal or missing",
    ),
)
