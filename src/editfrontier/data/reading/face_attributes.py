"""The 40 attributes of CelebA (Liu et al. 2015) in the words of this study, and captions made of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.data.cases import compact_json
from editfrontier.data.language import HAIR_COLOURS, Language, attribute_instruction, join, pick

Edit = tuple[str, bool]
"""(attribute of the language, value after the edit)"""

Row = Mapping[str, bool]
"""Attribute, by its name in CelebA or in the language, -> value, of one image."""

CELEBA: Mapping[str, tuple[str, bool]] = {
    "smile": ("Smiling", True),
    "open_mouth": ("Mouth_Slightly_Open", True),
    "glasses": ("Eyeglasses", True),
    "hat": ("Wearing_Hat", True),
    "beard": ("No_Beard", False),
    "moustache": ("Mustache", True),
    "earrings": ("Wearing_Earrings", True),
    "lipstick": ("Wearing_Lipstick", True),
    "old": ("Young", False),
    "bangs": ("Bangs", True),
    "necklace": ("Wearing_Necklace", True),
    "black_hair": ("Black_Hair", True),
    "brown_hair": ("Brown_Hair", True),
    "blond_hair": ("Blond_Hair", True),
    "grey_hair": ("Gray_Hair", True),
}
"""Attribute of the language -> (attribute of CelebA, its value where ours is true). CelebA labels no sunglasses apart
from other eyeglasses, no scarf, no closed eyes, no red and no long hair; these are left out rather than guessed."""

NEEDED = (*(theirs for theirs, _ in CELEBA.values()), "Male", "Bald")
"""Attributes of CelebA without which edits would silently be missing, or start from the wrong faces."""

USUAL = tuple(name for name in CELEBA if name != "open_mouth")
"""Attributes that are edited by default: about a fifth of the labels "mouth open" are wrong (Wu et al. 2023, arXiv
2210.07356), too many to start an edit from."""

PLAIN = ("a portrait of {person}", "a photo of {person}", "a picture of {person}", "a close photo of {person}")
"""Captions for faces without known details, which the frames of the language need; the first one is canonical."""


def read_attribute_table(path: Path) -> dict[str, dict[str, bool]]:
    """Read a table in the format of `list_attr_celeba.txt`.

    Line 1 is the number of images, line 2 the names of the attributes, then a line an image: file name and -1 or 1 for
    each attribute, separated by one or several spaces.

    Returns:
        file name -> attribute of CelebA -> value.

    Raises:
        UserError: it is missing, truncated or in another format, or names an image twice.
    """
    lines = read_lines(path)
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise UserError(f"{path}: starts with {lines[0][:40]!r}, expected the number of images. Unpack it again.")
    count, names = int(lines[0]), lines[1].split()
    rows: dict[str, dict[str, bool]] = {}
    for number, line in enumerate(lines[2:], start=3):
        words = line.split()
        if not words:
            continue
        file, values = words[0], words[1:]
        if len(values) != len(names) or not set(values) <= {"-1", "1"}:
            raise UserError(
                f"{path}, line {number}: expected a file name and {len(names)} values -1 or 1, got {line[:60]!r}. It "
                "is damaged: unpack it again."
            )
        if file in rows:
            raise UserError(f"{path}, line {number}: names {file} a second time. It is damaged: unpack it again.")
        rows[file] = {name: value == "1" for name, value in zip(names, values, strict=True)}
    if len(rows) != count:
        raise UserError(f"{path}: has {len(rows)} images but says {count}. It is truncated: unpack it again.")
    return rows


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, at least one; raise `UserError` if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}). Unpack the data set again.") from None
    return lines or [""]


def known_attributes(row: Row) -> dict[str, bool]:
    """Return the attributes of the language that follow from labels of CelebA, in the order of `CELEBA`."""
    return {name: row[theirs] == sense for name, (theirs, sense) in CELEBA.items() if theirs in row}


def check_names(names: Iterable[str], option: str) -> None:
    """Raise `UserError` for an attribute that CelebA does not label."""
    for name in names:
        if name not in CELEBA:
            raise UserError(f"option '{option}': CelebA has no '{name}'.{did_you_mean(name, CELEBA)} Correct it.")


def directions(names: Iterable[str]) -> list[Edit]:
    """Return the edits that cases are balanced over: each attribute added and removed, hair colours only added."""
    return [(name, desired) for desired in (True, False) for name in names if desired or name not in HAIR_COLOURS]


def changes(values: Row, attribute: str, desired: bool) -> bool:
    """Return whether an edit changes known attributes; a hair colour changes if there is exactly one other."""
    if values.get(attribute) is not (not desired):
        return False
    return attribute not in HAIR_COLOURS or sum(values.get(name, False) for name in HAIR_COLOURS) == 1


def editable(row: Row, attribute: str, desired: bool) -> bool:
    """Return whether an edit changes a face (see `changes`) and is plausible.

    Args:
        row: the labels of CelebA, also "Male", "Bald" and "Wearing_Hat".
        attribute: a name of `CELEBA`.
        desired: the value after the edit.

    Returns:
        False also for hair and bangs if it is bald or wears a hat; for adding a beard or moustache unless it is
        labelled male, because hardly anybody asks for one on other faces.
    """
    if not changes(known_attributes(row), attribute, desired):
        return False
    if attribute in (*HAIR_COLOURS, "bangs"):
        return not (row.get("Bald", False) or row.get("Wearing_Hat", False))
    if attribute in ("beard", "moustache") and desired:
        return row.get("Male", False)
    return True


def edited_attributes(values: Row, attribute: str, desired: bool) -> dict[str, bool]:
    """Return the attributes after an edit; a new hair colour takes the place of the old one."""
    changed = {**values, attribute: desired}
    if attribute in HAIR_COLOURS and desired:
        changed |= {name: name == attribute for name in HAIR_COLOURS if name in values}
    return changed


def edit_columns(
    lang: Language, before: Row, edit: Edit, rng: random.Random, free_form_share: float
) -> dict[str, str | bool]:
    """Return the columns of a case that say what an edit of a face with known attributes asks for."""
    attribute, desired = edit
    after = edited_attributes(before, attribute, desired)
    instruction = attribute_instruction(lang, attribute, desired, rng, free_form_share)
    return {
        "source_caption": face_caption(lang, before),
        "target_caption": face_caption(lang, after),
        "instruction": instruction.text,
        "instruction_origin": instruction.origin,
        "edit_type": f"attribute_{'add' if desired else 'remove'}",
        "attribute": attribute,
        "desired": desired,
        "source_attributes": compact_json(before),
        "target_attributes": compact_json(after),
    }


def face_caption(lang: Language, values: Row, rng: random.Random | None = None) -> str:
    """Return a caption of a face: its true attributes, and the colour of its hair if exactly one is labelled.

    Unlike `language.portrait_caption` it omits the length of the hair, which CelebA does not label.

    Args:
        lang: the language.
        values: attribute of the language -> value; absent names are not known.
        rng: draws the frame, the wordings and the order of the details; None gives the canonical caption.
    """
    colours = [name for name in HAIR_COLOURS if values.get(name, False)]
    others = [name for name in lang.attributes if values.get(name, False) and name not in (*HAIR_COLOURS, "old")]
    details = [pick(lang.attributes[name].phrases, rng) for name in (*(colours if len(colours) == 1 else ()), *others)]
    if rng is not None:
        rng.shuffle(details)
    person = pick(lang.old_person if values.get("old", False) else lang.young_person, rng)
    frame = pick(lang.frames if details else PLAIN, rng)
    return frame.format(person=person, details=join(details) if details else "")
