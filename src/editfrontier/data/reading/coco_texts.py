"""Captions and instructions of edits of objects in COCO, from the annotators' captions and the language."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from editfrontier.data.language import Instruction, Language, scene_instruction, with_articles

KINDS = ("replace", "recolour", "remove")
"""Edits whose target caption follows from captions that people wrote (see `edit_texts`)."""

OTHER_WORDS = {
    "person": ("man", "woman", "boy", "girl", "guy", "lady", "child", "kid", "player", "skier", "surfer", "rider"),
    "bicycle": ("bike",),
    "motorcycle": ("motorbike",),
    "airplane": ("plane", "jet", "aeroplane"),
    "couch": ("sofa",),
    "potted plant": ("plant",),
    "dining table": ("table",),
    "tv": ("television",),
    "cell phone": ("phone", "cellphone"),
    "refrigerator": ("fridge",),
    "sports ball": ("ball",),
    "donut": ("doughnut",),
    "hair drier": ("hair dryer", "dryer"),
    "wine glass": ("glass",),
    "hot dog": ("hotdog",),
}
"""Words that annotators write for a category instead of its name."""

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
"""New colours of objects: those of `scenes.colours` of the language."""

_OTHER_COLOURS = ("brown", "grey", "gray", "pink", "tan", "silver", "gold", "beige")


@dataclass(frozen=True)
class EditTexts:
    """The texts of an edit: captions of the source and of the target, and the instruction."""

    source_caption: str
    target_caption: str
    instruction: Instruction


def edit_texts(
    kind: str,
    category: str,
    others: Sequence[str],
    captions: Sequence[str],
    lang: Language,
    rng: random.Random,
    free_form_share: float,
) -> EditTexts | None:
    """Return the texts of an edit of the only object of its category in an image.

    The source caption is the first caption of the image that names the object once. The target caption is, for
    "replace", the same with another category in its place; for "recolour", the same with a colour before the object's
    name; for "remove", the first other caption of the image that does not name the object.

    Args:
        kind: one of `KINDS`.
        category: category of the object.
        others: categories that may replace it, not in the image.
        captions: captions of the image.
        lang: the language, whose scene edits are the instructions.
        rng: draws the new category or colour, and the wording.
        free_form_share: expected share of free-form instructions, in [0, 1].

    Returns:
        None if the captions do not allow it.
    """
    words = (category, *OTHER_WORDS.get(category, ()))
    plain = [" ".join(caption.split()).rstrip(". ") for caption in captions]
    named = next(((text, word) for text in plain for word in words if _names_once(text, word, words)), None)
    if named is None:
        return None
    source, word = named
    slots = {"object": word}
    if kind == "replace":
        if not others:
            return None
        slots["new"] = rng.choice(list(others))
        target = _in_place(source, word, slots["new"])
    elif kind == "recolour":
        old = _colour_before(source, word)
        slots["colour"] = rng.choice([colour for colour in COLOURS if colour != old])
        phrase = f"{old} {word}" if old else word
        target = _in_place(source, phrase, f"{slots['colour']} {word}")
    else:
        without = [text for text in plain if not any(_count(text, name) for name in words)]
        if not without:
            return None
        target = without[0]
    return EditTexts(source, target, scene_instruction(lang, kind, slots, rng, free_form_share))


def _pattern(word: str) -> str:
    return rf"\b{re.escape(word)}\b"


def _count(text: str, word: str) -> int:
    """Return how often a caption names a word, in the singular or plural."""
    return len(re.findall(rf"\b{re.escape(word)}(?:s|es)?\b", text, re.IGNORECASE))


def _names_once(text: str, word: str, words: Sequence[str]) -> bool:
    """Return whether a caption names an object once, by this word in the singular and by no other word."""
    if not re.search(_pattern(word), text, re.IGNORECASE) or _count(text, word) != 1:
        return False
    # A word within another, "table" in "dining table", is the same mention.
    rest = re.sub(_pattern(word), " ", text, count=1, flags=re.IGNORECASE)
    return not any(_count(rest, other) for other in words)


def _colour_before(text: str, word: str) -> str:
    match = re.search(rf"\b({'|'.join((*COLOURS, *_OTHER_COLOURS))}) {re.escape(word)}\b", text, re.IGNORECASE)
    return match.group(1).lower() if match else ""


def _in_place(text: str, old: str, new: str) -> str:
    return with_articles(re.sub(_pattern(old), new, text, count=1, flags=re.IGNORECASE))
