"""The language of captions and instructions: attributes, scene edits, templates, paraphrases (`config/language.yaml`).

All text is lower case, without digits, from a small vocabulary: the tokenizers of the micro models cover it, and larger
models read it as plain English.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.places import CONFIG
from editfrontier.base.yaml_files import read_yaml

DEFAULT_PATH = CONFIG / "language.yaml"
HAIR_COLOURS = ("black_hair", "brown_hair", "blond_hair", "red_hair", "grey_hair")
MINIMUM_TEMPLATES = 5
SCENE_SLOTS = frozenset({"object", "colour", "new", "place", "direction", "other", "background"})

_WORD = re.compile(r"[a-z]+")
_SLOT = re.compile(r"\{([a-z_]+)\}")
_ARTICLE = re.compile(r"\b([Aa])n? (?=(\w))")
# Attributes that a caption expresses by the words for the person and the hair, not by a phrase.
_EXPRESSED_ELSEWHERE = frozenset({"old", "long_hair", *HAIR_COLOURS})


@dataclass(frozen=True)
class FreeForm:
    """An instruction in free natural language and where it comes from."""

    text: str
    origin: str


@dataclass(frozen=True)
class Instruction:
    """An instruction and its origin: "template" or "free_form"."""

    text: str
    origin: str


@dataclass(frozen=True)
class Attribute:
    """An editable attribute of a portrait.

    Edits of a `geometric` attribute move parts that exist, so that they can be posed as drags of the parts in `region`;
    the others change the appearance or add things.
    """

    name: str
    category: str
    region: str
    geometric: bool
    phrases: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    free_form_add: tuple[FreeForm, ...]
    free_form_remove: tuple[FreeForm, ...]


@dataclass(frozen=True)
class SceneEdit:
    """A category of scene edits; its texts hold slots such as `{object}` and `{colour}`."""

    name: str
    templates: tuple[str, ...]
    free_form: tuple[FreeForm, ...]


@dataclass(frozen=True)
class SceneLanguage:
    """Words for scenes; each mapping maps a name in the renderer to wordings, the canonical one first."""

    max_words: int
    frames: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    colours: dict[str, tuple[str, ...]]
    sizes: dict[str, tuple[str, ...]]
    relations: dict[str, tuple[str, ...]]
    places: dict[str, tuple[str, ...]]
    backgrounds: dict[str, tuple[str, ...]]
    directions: dict[str, tuple[str, ...]]
    edits: dict[str, SceneEdit]


@dataclass(frozen=True)
class Language:
    """The whole language of one file."""

    attributes: dict[str, Attribute]
    origins: dict[str, str]
    max_words: int
    frames: tuple[str, ...]
    old_person: tuple[str, ...]
    young_person: tuple[str, ...]
    hair_forms: tuple[str, ...]
    hair_lengths: dict[str, tuple[str, ...]]
    hair_colours: dict[str, tuple[str, ...]]
    scenes: SceneLanguage

    def free_form(self, attribute: str, desired: bool) -> list[FreeForm]:
        """Return the free-form instructions that ask for `attribute` to become `desired`."""
        entry = _attribute(self, attribute)
        return list(entry.free_form_add if desired else entry.free_form_remove)


class _Reader:
    """A strict reader of one mapping of the file, whose messages name the file and the key."""

    def __init__(self, data: Any, path: Path, key: str, allowed: Iterable[str] | None = None) -> None:
        if not isinstance(data, dict):
            raise UserError(f"{path}: {key or 'file'}: is {_kind(data)}, expected a mapping. Indent its entries.")
        self.data, self.path, self.key = data, path, key
        if allowed is not None:
            names = sorted(allowed)
            for name in data:
                if name not in names:
                    raise UserError(
                        f"{path}: {self.name(name)}: unknown key, expected one of {', '.join(names)}. "
                        "Remove or rename it."
                    )

    def name(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else str(key)

    def get(self, key: str, kind: type, description: str) -> Any:
        if key not in self.data:
            raise UserError(f"{self.path}: {self.name(key)}: is missing, expected {description}. Add it.")
        value = self.data[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{self.path}: {self.name(key)}: is {_kind(value)}, expected {description}. Correct it.")
        return value

    def section(self, key: str, allowed: Iterable[str] | None = None) -> _Reader:
        return _Reader(self.get(key, dict, "a mapping"), self.path, self.name(key), allowed)

    def texts(self, key: str, minimum: int = 1, slots: frozenset[str] = frozenset()) -> tuple[str, ...]:
        values = self.get(key, list, f"a list of at least {minimum} texts")
        if len(values) < minimum:
            raise UserError(
                f"{self.path}: {self.name(key)}: has {len(values)} texts, expected at least {minimum}. Add paraphrases."
            )
        for value in values:
            check_text(value, f"{self.path}: {self.name(key)}", slots)
        return tuple(values)

    def wordings(self) -> dict[str, tuple[str, ...]]:
        return {str(name): self.texts(str(name)) for name in self.data}

    def free_form(
        self, key: str, origins: Mapping[str, str], slots: frozenset[str] = frozenset()
    ) -> tuple[FreeForm, ...]:
        entries = []
        for number, entry in enumerate(self.get(key, list, "a list of {text, origin}")):
            reader = _Reader(entry, self.path, f"{self.name(key)}[{number}]", ("text", "origin"))
            text = check_text(reader.get("text", str, "a text"), f"{self.path}: {reader.name('text')}", slots)
            origin = reader.get("origin", str, "a key of `origins`")
            if origin not in origins:
                raise UserError(
                    f"{self.path}: {reader.name('origin')}: is {origin!r}, expected one of {', '.join(origins)}. "
                    "Add the origin to `origins`."
                )
            entries.append(FreeForm(text, origin))
        return tuple(entries)


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "a text", bool: "true/false", int: "a whole number"}.get(
        type(value), "nothing" if value is None else f"a {type(value).__name__}"
    )


def check_text(value: Any, where: str, slots: frozenset[str] = frozenset()) -> str:
    """Return `value` if it is a plain lower-case text whose `{slots}` are known; raise `UserError`, from `where` on."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: is {value!r}, expected a text. Put the wording in quotes.")
    for slot in _SLOT.findall(value):
        if slot not in slots:
            known = ", ".join(sorted(slots)) or "none"
            raise UserError(f"{where}: {value!r} has the slot {{{slot}}}, expected one of: {known}. Rename the slot.")
    plain = _SLOT.sub("", value)
    if not re.fullmatch(r"[a-z ,]*", plain):
        raise UserError(
            f"{where}: {value!r} has other characters than a-z, spaces and commas, expected plain lower-case words. "
            "Rewrite it."
        )
    return value


@lru_cache(maxsize=8)
def _load(path: Path) -> Language:
    root = _Reader(read_yaml(path, "language file"), path, "", ("origins", "portraits", "scenes"))
    origins = {name: str(root.section("origins").get(name, str, "a text")) for name in root.section("origins").data}
    part = root.section("portraits", ("max_words", "frames", "person", "hair", "attributes"))
    person = part.section("person", ("old", "young"))
    hair = part.section("hair", ("forms", "long", "short", "colours"))
    colours = hair.section("colours", HAIR_COLOURS).wordings()
    for name in HAIR_COLOURS:
        if name not in colours:
            raise UserError(f"{path}: portraits.hair.colours.{name}: is missing, expected a list of texts. Add it.")
    section = part.section("attributes")
    return Language(
        attributes={name: _read_attribute(section, name, origins) for name in section.data},
        origins=origins,
        max_words=part.get("max_words", int, "a whole number of words"),
        frames=part.texts("frames", slots=frozenset({"person", "details"})),
        old_person=person.texts("old"),
        young_person=person.texts("young"),
        hair_forms=hair.texts("forms", slots=frozenset({"length", "colour"})),
        hair_lengths={"long": hair.texts("long"), "short": hair.texts("short")},
        hair_colours=colours,
        scenes=_read_scenes(root, origins),
    )


def _read_attribute(section: _Reader, name: str, origins: Mapping[str, str]) -> Attribute:
    entry = section.section(name, ("category", "region", "geometric", "phrases", "add", "remove", "free_form"))
    free = entry.section("free_form", ("add", "remove"))
    return Attribute(
        name=name,
        category=entry.get("category", str, "a text"),
        region=entry.get("region", str, "the name of a region of the portrait"),
        geometric=entry.get("geometric", bool, "true or false"),
        phrases=entry.texts("phrases"),
        add=entry.texts("add", MINIMUM_TEMPLATES),
        remove=entry.texts("remove", MINIMUM_TEMPLATES),
        free_form_add=free.free_form("add", origins),
        free_form_remove=free.free_form("remove", origins),
    )


def _read_scenes(root: _Reader, origins: Mapping[str, str]) -> SceneLanguage:
    words = ("classes", "colours", "sizes", "relations", "places", "backgrounds", "directions")
    part = root.section("scenes", ("max_words", "frames", "edits", *words))
    edits = {}
    section = part.section("edits")
    for name in section.data:
        entry = section.section(name, ("add", "free_form"))
        edits[name] = SceneEdit(
            name, entry.texts("add", MINIMUM_TEMPLATES, SCENE_SLOTS), entry.free_form("free_form", origins, SCENE_SLOTS)
        )
    return SceneLanguage(
        max_words=part.get("max_words", int, "a whole number of words"),
        frames=part.texts("frames", slots=frozenset({"objects", "background"})),
        edits=edits,
        **{name: part.section(name).wordings() for name in words},
    )


def load_language(path: Path | None = None) -> Language:
    """Read and check a language file; None = `config/language.yaml` of the repository.

    Raises:
        UserError: unreadable file, unknown or missing key, wrong type, fewer than five templates for an edit.
    """
    return _load(Path(path) if path is not None else DEFAULT_PATH)


def _attribute(lang: Language, name: str) -> Attribute:
    if name not in lang.attributes:
        raise UserError(f"attribute {name!r}: unknown, expected one of {', '.join(lang.attributes)}. Correct the name.")
    return lang.attributes[name]


def instructions(lang: Language, attribute: str, desired: bool) -> list[str]:
    """Return the templates (at least five) that ask for `attribute` to become `desired`."""
    entry = _attribute(lang, attribute)
    return list(entry.add if desired else entry.remove)


def attribute_instruction(
    lang: Language, attribute: str, desired: bool, rng: random.Random, free_form_share: float
) -> Instruction:
    """Draw the words of an attribute edit: a free-form text with probability `free_form_share`, else a template."""
    if rng.random() < free_form_share:
        return Instruction(rng.choice(lang.free_form(attribute, desired)).text, "free_form")
    return Instruction(rng.choice(instructions(lang, attribute, desired)), "template")


def scene_instruction(
    lang: Language, kind: str, slots: Mapping[str, str], rng: random.Random, free_form_share: float
) -> Instruction:
    """Draw the words of a scene edit of one kind, as `attribute_instruction` does, and fill its slots."""
    edit = lang.scenes.edits[kind]
    free = bool(edit.free_form) and rng.random() < free_form_share
    text = rng.choice(edit.free_form).text if free else rng.choice(edit.templates)
    return Instruction(with_articles(text.format(**slots)), "free_form" if free else "template")


def check_share(share: float) -> None:
    """Raise `UserError` unless an option `free_form_share` lies in [0, 1]."""
    if not 0 <= share <= 1:
        raise UserError(f"option 'free_form_share': {share}, expected 0 to 1. Correct the value.")


def pick(options: tuple[str, ...], rng: random.Random | None) -> str:
    """Return a random wording, the first (canonical) one without a generator."""
    return options[0] if rng is None else rng.choice(options)


def word_count(text: str) -> int:
    """Return the number of words, without punctuation."""
    return len(_WORD.findall(text))


def join(parts: list[str]) -> str:
    """Return 'a', 'a and b' or 'a, b and c'."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def with_articles(text: str) -> str:
    """Return a text whose "a" and "an" fit the words behind them, by their first letters."""
    return _ARTICLE.sub(lambda match: match.group(1) + ("n " if match.group(2).lower() in "aeiou" else " "), text)


def portrait_caption(lang: Language, attributes: Mapping[str, bool], rng: random.Random | None = None) -> str:
    """Return a caption that names every true attribute, and always the colour and the length of the hair.

    Args:
        lang: the language.
        attributes: name -> value; absent names count as false.
        rng: draws frames, wordings and the order of details; None gives the canonical caption.

    Returns:
        At most `lang.max_words` words; a longer paraphrase is replaced by the shorter canonical words.

    Raises:
        UserError: unknown attribute, or not exactly one hair colour.
    """
    for name in attributes:
        _attribute(lang, name)
    true_colours = [name for name in HAIR_COLOURS if attributes.get(name, False)]
    if len(true_colours) != 1:
        raise UserError(
            f"attributes: {len(true_colours)} hair colours are true, "
            f"expected exactly one of {', '.join(HAIR_COLOURS)}. Set one of them."
        )
    named = [name for name in lang.attributes if attributes.get(name, False) and name not in _EXPRESSED_ELSEWHERE]
    caption = ""
    for source in (rng, None) if rng is not None else (None,):
        length = pick(lang.hair_lengths["long" if attributes.get("long_hair", False) else "short"], source)
        colour = pick(lang.hair_colours[true_colours[0]], source)
        details = [pick(lang.hair_forms, source).format(length=length, colour=colour)]
        details += [pick(lang.attributes[name].phrases, source) for name in named]
        if rng is not None:
            rng.shuffle(details)
        person = pick(lang.old_person if attributes.get("old", False) else lang.young_person, source)
        caption = pick(lang.frames, source).format(person=person, details=join(details))
        if word_count(caption) <= lang.max_words:
            return caption
    return caption
