"""Seeds that depend on the object that is drawn, never on its place in a batch, a shard or a list."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stable_seed(*parts: str | int) -> int:
    """Hash the parts to a seed in [0, 2**63), the same on every machine and in every Python process."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def case_generator(case_id: str, variant: str, seed: int) -> torch.Generator:
    """Return the CPU generator of a case under a variant: the case gives the same image in any batch and shard."""
    import torch

    return torch.Generator("cpu").manual_seed(stable_seed("case", case_id, variant, seed))
