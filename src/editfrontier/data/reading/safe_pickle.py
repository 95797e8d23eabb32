"""Reading pickles of plain data without letting them run anything.

A pickle is a program: `pickle.load` calls whatever it names. The reader here accepts only numbers, texts, lists,
tuples, dicts and numpy arrays of numbers; functions of this module build the arrays, so that a file can reach no
function of another library.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from editfrontier.base.errors import UserError

MAX_BYTES = 64 << 20
_CODES = frozenset(np.dtype(code).str[1:] for code in "?bBhHiIqQefd")
_MAX_VALUES = 5_000_000  # a small pickle can name one list a thousand times within another, and so on


class _Type:
    """Stands for `numpy.dtype`: numbers only."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        text = str(code).lstrip("<>=|")
        if text not in _CODES:
            raise pickle.UnpicklingError(f"an array of the type {code!r}, expected numbers")
        self.code, self.order = text, "<"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"an array of the byte order {order!r}")
        self.order = order

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for `numpy.ndarray` while its parts are read; calls of `_reconstruct` make one."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.value = _array(content, kind, shape, "F" if fortran else "C")


def _array(content: Any, kind: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    if not isinstance(kind, _Type) or not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("an array that does not hold numbers")
    flat = np.frombuffer(bytes(content), dtype=kind.dtype())
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"an array of the order {order!r}")
    return flat.reshape(tuple(shape), order="F" if order == "F" else "C").copy()


def _scalar(kind: Any, content: Any) -> Any:
    return _array(content, kind, (), "C").item()


def _from_buffer(content: Any, kind: Any, shape: Any, order: str, *_: Any) -> _Array:
    placeholder = _Array()
    placeholder.value = _array(content, kind, shape, order)
    return placeholder


def _encode(text: Any, encoding: Any) -> bytes:
    # Python 2 and protocols below 3 write bytes as latin-1 texts.
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"a text in the encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Array
    _KNOWN[f"{_core}.multiarray", "scalar"] = _scalar
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


class _Refused(Exception):
    """A pickle names something that is not plain data."""


def load_plain(path: Path) -> Any:
    """Read a pickle of plain data.

    Args:
        path: the file, at most `MAX_BYTES` long.

    Returns:
        Numbers, texts, lists, tuples, dicts, and arrays of bool, int or float.

    Raises:
        UserError: the file is missing, too long, truncated, or names a class or function, which is not run.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{path}: has {size} bytes, expected at most {MAX_BYTES}. It is another file.")
        return _unwrapped(_SafeUnpickler(io.BytesIO(path.read_bytes())).load(), [_MAX_VALUES])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Unpack the data set again.") from None
    except _Refused as error:
        raise UserError(
            f"{path}: this pickle wants to load '{error}', expected plain numbers, texts and arrays. It was not "
            "opened: it could run programs on this machine. Get the file from the authors of the data set."
        ) from None
    except UserError:
        raise
    except Exception as error:  # a damaged pickle fails in every way there is
        raise UserError(
            f"{path}: is truncated or no pickle of plain data ({type(error).__name__}: {error}). Unpack the data set "
            "again."
        ) from None


def _unwrapped(value: Any, left: list[int]) -> Any:
    """Return a value with the arrays in place of their placeholders; `left` counts the values that may follow."""
    left[0] -= 1
    if left[0] < 0:
        raise pickle.UnpicklingError("too many values")
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without content")
        return value.value
    if isinstance(value, dict):
        return {_unwrapped(key, left): _unwrapped(item, left) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_unwrapped(item, left) for item in value)
    if value is not None and not isinstance(value, bool | int | float | str | bytes):
        raise pickle.UnpicklingError(f"a value of the type {type(value).__name__}")
    return value
