"""Reading .npz files that may be damaged."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from editfrontier.base.errors import UserError

DAMAGED = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""Exceptions of numpy for a damaged .npz."""


def read_npz(path: Path, fix: str, keys: Iterable[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Read arrays of a file.

    Args:
        path: .npz file.
        fix: the user's remedy if the file is missing or damaged, for the `UserError`.
        keys: arrays to read, if the file has them; None = all.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if keys is None or key in set(keys)}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. {fix}") from None
    except DAMAGED as error:
        raise UserError(f"{path}: not a readable file of arrays ({error}). Delete it. {fix}") from None
