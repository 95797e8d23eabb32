"""Portraits drawn from parameters: identity, attributes, which can be edited, and nuisance, all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.seeding import stable_seed
from editfrontier.data.language import HAIR_COLOURS

SIZE = 64
ATTRIBUTES = (
    *("smile", "open_mouth", "eyes_closed", "glasses", "sunglasses", "hat", "beard", "moustache"),
    *("earrings", "lipstick", "old", "long_hair", "bangs", "necklace", "scarf"),
    *HAIR_COLOURS,
)
"""Editable attributes, in the order of the columns of `Portraits.attributes`. Exactly one hair colour is true."""

CONFLICTS = {"glasses": ("sunglasses",), "sunglasses": ("glasses", "eyes_closed"), "eyes_closed": ("sunglasses",)}
"""Attributes that cannot be seen together: setting one clears the others."""

IDENTITY = (
    *("skin_tone", "face_width", "jaw", "eye_spacing", "eye_size", "eye_colour", "eye_height", "brow_thickness"),
    *("brow_angle", "brow_height", "nose_length", "nose_width"),
    *("mouth_width", "lip_thickness", "ear_size", "hair_shape"),
)
"""Identity parameters, each in [0, 1]. No attribute hides more than a few of them."""
IDENTITY_SIZE = len(IDENTITY)

NUISANCE = (
    *("shift_x", "shift_y", "tilt", "scale", "light_angle", "light_strength", "background", "background_blend"),
    *("pattern", "pattern_phase", "clothes", "accessory"),
)
"""Nuisance parameters, each in [0, 1], in which two pictures of one person differ."""

POPULATIONS = ("studio", "outdoor")
"""Two ways of taking pictures: "studio" stands for CelebA-HQ, "outdoor" (patterns, more pose and light) for FFHQ."""

REGIONS = ("background", "skin", "eyes", "brows", "nose", "mouth", "ears", "hair", "clothes", "accessory")
MAX_PRESENT = 6  # binary attributes of one sampled portrait: more do not fit into one caption
_RARE = {
    **dict.fromkeys(("open_mouth", "hat", "scarf", "necklace"), 0.2),
    **{"eyes_closed": 0.15, "sunglasses": 0.15, "glasses": 0.25},
}


@dataclass(frozen=True)
class Portraits:
    """Parameters of N portraits.

    identity [N, 16] and nuisance [N, 12] in [0, 1], attributes [N, 20] bool, population [N] int.
    """

    identity: Tensor
    attributes: Tensor
    nuisance: Tensor
    population: Tensor

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Portraits:
        """Select portraits; a single number gives a batch of one."""
        if isinstance(index, int):
            index = [index]
        return Portraits(self.identity[index], self.attributes[index], self.nuisance[index], self.population[index])

    def attribute(self, name: str) -> Tensor:
        """Return the column of one attribute, bool [N]."""
        return self.attributes[:, attribute_index(name)]

    def attributes_of(self, index: int) -> dict[str, bool]:
        """Return the attributes of one portrait by name."""
        return named_attributes(self.attributes[index])


def named_attributes(row: Tensor) -> dict[str, bool]:
    """Return the attributes of one portrait, bool [20], by name."""
    return dict(zip(ATTRIBUTES, row.tolist(), strict=True))


@dataclass(frozen=True)
class Rendered:
    """Images uint8 [N, 3, 64, 64] and the region that owns each pixel, uint8 [N, 64, 64], an index into `REGIONS`."""

    images: Tensor
    regions: Tensor


def attribute_index(name: str) -> int:
    """Return the column of an attribute; raise `UserError` for an unknown name."""
    if name not in ATTRIBUTES:
        raise UserError(f"attribute '{name}': not an attribute of the portraits.{did_you_mean(name, ATTRIBUTES)}")
    return ATTRIBUTES.index(name)


def concatenate(parts: Sequence[Portraits]) -> Portraits:
    """Join batches of portraits."""
    names = ("identity", "attributes", "nuisance", "population")
    return Portraits(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def sample_portraits(n: int, *, seed: int, population: str = "studio", identities: Tensor | None = None) -> Portraits:
    """Draw `n` portraits.

    Args:
        n: how many.
        seed: the same seed gives the same portraits.
        population: one of `POPULATIONS`.
        identities: [n, 16] in [0, 1]; drawn uniformly when None.
    """
    if population not in POPULATIONS:
        raise UserError(f"population '{population}': unknown.{did_you_mean(population, POPULATIONS)}")
    generator = torch.Generator().manual_seed(stable_seed("portraits", population, seed))
    identity = torch.rand(n, IDENTITY_SIZE, generator=generator) if identities is None else identities
    nuisance = torch.rand(n, len(NUISANCE), generator=generator)
    binary = ATTRIBUTES[: -len(HAIR_COLOURS)]
    draws = torch.rand(n, len(binary), generator=generator)
    chance = torch.tensor([_RARE.get(name, 0.3) for name in binary])
    present = draws < chance
    # Keep the likeliest ones where too many were drawn.
    ratio = (draws / chance).masked_fill(~present, torch.inf)
    present &= ratio.argsort(1).argsort(1) < MAX_PRESENT
    for name, others in CONFLICTS.items():
        for other in others:
            if binary.index(other) > binary.index(name):
                present[:, binary.index(other)] &= ~present[:, binary.index(name)]
    colour = torch.randint(len(HAIR_COLOURS), (n,), generator=generator)
    hair = torch.nn.functional.one_hot(colour, len(HAIR_COLOURS)).bool()
    index = torch.full((n,), POPULATIONS.index(population))
    return Portraits(identity, torch.cat([present, hair], 1), nuisance, index)


def conflicts(portraits: Portraits, name: str) -> Tensor:
    """Return bool [N]: whether setting the attribute would clear another that is true (hair colours do not count)."""
    clash = torch.zeros(len(portraits), dtype=torch.bool)
    for other in CONFLICTS.get(name, ()):
        clash |= portraits.attribute(other)
    return clash


def set_attribute(portraits: Portraits, name: str, value: bool) -> Portraits:
    """Return the portraits with one attribute set; the others are kept unless they cannot be seen together with it.

    Raises:
        UserError: unknown attribute, or an attempt to take a hair colour away (choose another colour instead).
    """
    column = attribute_index(name)
    attributes = portraits.attributes.clone()
    if name in HAIR_COLOURS:
        if not value:
            raise UserError(
                f"attribute '{name}': a hair colour cannot be removed. Set another hair colour to true instead."
            )
        attributes[:, -len(HAIR_COLOURS) :] = False
    elif value:
        for other in CONFLICTS.get(name, ()):
            attributes[:, attribute_index(other)] = False
    attributes[:, column] = value
    return replace(portraits, attributes=attributes)
