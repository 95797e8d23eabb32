"""Pickles of plain data are read, and nothing else is."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editfrontier.base.errors import UserError
from editfrontier.data.reading import safe_pickle
from editfrontier.data.reading.safe_pickle import load_plain


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    mask = np.zeros((6, 4), np.uint8)
    mask[2, 1] = 1
    data = {
        "prompt": "a cat",
        "points": [[1, 2], (3, 4), np.array([5, 6]), [np.int64(7), np.float32(0.5)]],
        "mask": mask,
        "columns": np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
        "none": [None, True, b"x"],
    }
    path = tmp_path / "meta.pkl"
    path.write_bytes(pickle.dumps(data, protocol))
    found = load_plain(path)
    assert found["prompt"] == "a cat" and found["points"][:2] == [[1, 2], (3, 4)]
    assert found["points"][2].tolist() == [5, 6] and found["points"][3] == [7, 0.5]
    assert found["mask"].dtype == np.uint8 and np.array_equal(found["mask"], mask)
    assert np.array_equal(found["columns"], data["columns"]) and found["none"] == [None, True, b"x"]


def test_the_names_of_older_numpy_are_known(tmp_path: Path) -> None:
    """What numpy 1 writes, which made the published files: its module was called numpy.core."""
    content = pickle.dumps({"mask": np.eye(3, dtype=np.float32)}, 4)
    old = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    assert b"numpy._core" not in old and len(old) == len(content) - 1
    # The frame says how many bytes follow it.
    size = int.from_bytes(old[3:11], "little")
    old = old[:3] + (size - 1).to_bytes(8, "little") + old[11:]
    path = tmp_path / "meta.pkl"
    path.write_bytes(old)
    assert np.array_equal(load_plain(path)["mask"], np.eye(3))


class Foreign:
    def __reduce__(self) -> Any:
        return os.mkdir, (self.target,)

    def __init__(self, target: str) -> None:
        self.target = target


def test_a_pickle_that_names_a_function_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    target, path = tmp_path / "made", tmp_path / "meta.pkl"
    content = pickle.dumps({"prompt": "a cat", "points": [], "mask": Foreign(str(target))})
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"meta\.pkl: this pickle wants to load '(posix|nt)\.mkdir'.*from the authors"):
        load_plain(path)
    assert not target.exists()
    pickle.loads(content)  # the file is a working attack
    assert target.exists()


@pytest.mark.parametrize(
    "data",
    [
        collections.OrderedDict(a=1),
        np.array(["text"]),
        np.array([None, {}], dtype=object),
        np.zeros(2, dtype=[("a", "f4")]),
        np.float64,
        {1, 2},
        np.random.default_rng(0),
    ],
    ids=lambda data: type(data).__name__,
)
def test_other_data_is_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "meta.pkl"
    path.write_bytes(pickle.dumps({"mask": data}))
    with pytest.raises(
        UserError, match=r"meta\.pkl: (this pickle wants to load|is truncated or no pickle of plain data)"
    ):
        load_plain(path)


def test_damaged_and_endless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meta.pkl"
    with pytest.raises(UserError, match=r"meta\.pkl: no such file"):
        load_plain(path)
    content = pickle.dumps({"mask": np.ones((50, 50)), "points": [[1, 2]]})
    for end in (0, 1, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match=r"meta\.pkl: is truncated or no pickle"):
            load_plain(path)
    nested: list[Any] = [1]
    for _ in range(40):
        nested = [nested, nested]  # 2 to the 40 values in some hundred bytes
    path.write_bytes(pickle.dumps(nested))
    monkeypatch.setattr(safe_pickle, "_MAX_VALUES", 10_000)
    with pytest.raises(UserError, match="too many values"):
        load_plain(path)
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 10)
    with pytest.raises(UserError, match=r"expected at most 10"):
        load_plain(path)


def test_an_array_of_another_length_than_its_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "meta.pkl"
    content = pickle.dumps({"mask": np.zeros((3, 4), np.uint8)}, 2)
    path.write_bytes(content.replace(b"K\x03K\x04\x86", b"K\x03K\x05\x86"))
    with pytest.raises(UserError, match=r"meta\.pkl: is truncated or no pickle of plain data \(ValueError"):
        load_plain(path)
