"""Inversions on disk: one file an image, named by everything that it depends on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load, save
from torch import Tensor

from editfrontier.base.files import write_bytes
from editfrontier.diffusion.sampling import ForwardCounter
from editfrontier.inversion.trajectory import Trajectory

Keep = Literal["all", "noisiest"]
Compute = Callable[[list[int]], Trajectory]

FORMAT = 2


@dataclass
class InversionCache:
    """Inversions by content. One object serves one batch; all objects on one folder share its files.

    A model that was changed after loading (adapters, attention control) must not use a cache, whose files are named by
    the original weights.

    Attributes:
        folder: folder of the files; jobs that run at once may share it, and it may be removed between jobs.
        weights: sha256 of the model's weights.
        code: hash of the code that inverts.
        counter: counter of the denoiser's forwards; a cached inversion counts the forwards of its computation.
        spent: for every fetch, the seconds that the computation of each image's inversion took.
        computing: seconds that this object spent on missing inversions.
        hits, misses: numbers of cached and of computed images.
    """

    folder: Path
    weights: str
    code: str
    counter: ForwardCounter | None = None
    spent: list[list[float]] = field(default_factory=list)
    computing: float = 0.0
    hits: int = 0
    misses: int = 0

    def fetch(self, contents: Sequence[Mapping[str, Any]], keep: Keep, compute: Compute, device: Any) -> Trajectory:
        """Return the trajectory of a batch, computing what is missing.

        Args:
            contents: JSON values that, with weights and code, decide the inversion of each image.
            keep: "all" latents or only the "noisiest"; only these are stored.
            compute: rows of the batch -> their trajectory. It gets as many rows as the batch has, repeated if fewer
                images are missing, so that the bytes of a result do not depend on the cached images.
            device: device of the result.
        """
        before = self.counter.samples if self.counter else 0
        keys = [self._key(content) for content in contents]
        known = {key: entry for key in dict.fromkeys(keys) if (entry := self._read(key, keep)) is not None}
        missing = {key: row for row, key in enumerate(keys) if key not in known}
        self.hits += sum(key in known for key in keys)
        self.misses += sum(key not in known for key in keys)
        if missing:
            rows = list(missing.values())
            started = time.perf_counter()
            computed = compute([*rows, *[rows[-1]] * (len(keys) - len(rows))])
            entries = [_Entry.take(computed, place, keep) for place in range(len(rows))]
            elapsed = time.perf_counter() - started
            self.computing += elapsed
            for key, entry in zip(missing, entries, strict=True):
                entry.about["seconds"] = elapsed / len(keys)
                write_bytes(self._path(key, keep), entry.encode())
                known[key] = entry
        chosen = [known[key] for key in keys]
        if self.counter is not None:
            self.counter.samples = before + sum(entry.about["forwards"] for entry in chosen)
        spent = [float(entry.about["seconds"]) for entry in chosen]
        self.spent.append(spent)
        latents = torch.stack([entry.tensors["latents"] for entry in chosen], 1).to(device)
        extras = {
            name: torch.stack([entry.tensors[name] for entry in chosen]).to(device)
            for name in chosen[0].tensors
            if name != "latents"
        }
        forwards = max(entry.about["forwards"] for entry in chosen)
        return Trajectory(list(latents), chosen[0].about["times"], extras, forwards, tuple(spent))

    def seconds(self, count: int) -> list[float]:
        """Return the seconds of all inversions, for each of the `count` cases of the batch.

        The seconds of a fetch that has not one image a case (single cases, several images of each) are shared equally.
        """
        shares = [spent if len(spent) == count else [sum(spent) / count] * count for spent in self.spent]
        return [sum(column) for column in zip(*shares, strict=True)]

    def _key(self, content: Mapping[str, Any]) -> str:
        parts = [FORMAT, self.weights, self.code, content]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _path(self, key: str, keep: Keep) -> Path:
        return self.folder / key[:2] / f"{key}.{keep}.safetensors"

    def _read(self, key: str, keep: Keep) -> _Entry | None:
        """Return the stored entry, None if there is none or it is damaged; all latents include the noisiest."""
        if keep == "noisiest" and (entry := _Entry.decode(self._path(key, "noisiest"))) is not None:
            return entry
        entry = _Entry.decode(self._path(key, "all"))
        if entry is not None and keep == "noisiest":
            entry.tensors["latents"] = entry.tensors["latents"][:1]
        return entry


@dataclass
class _Entry:
    """The inversion of one image: latents [S, C, h, w], extras [...], and the content of the file's header."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]

    @classmethod
    def take(cls, trajectory: Trajectory, row: int, keep: Keep) -> _Entry:
        chosen = trajectory.latents if keep == "all" else trajectory.latents[:1]
        tensors = {name: extra[row].float().cpu().contiguous() for name, extra in trajectory.extras.items()}
        tensors["latents"] = torch.stack([latents[row] for latents in chosen]).float().cpu().contiguous()
        return cls(tensors, {"times": trajectory.times, "forwards": trajectory.forwards})

    def encode(self) -> bytes:
        return save(self.tensors, {"about": json.dumps(self.about), "sha256": self._sha256(), "format": str(FORMAT)})

    @classmethod
    def decode(cls, path: Path) -> _Entry | None:
        try:
            content = path.read_bytes()
            header = _header(content)
            entry = cls(load(content), json.loads(header["about"]))
            return entry if entry._sha256() == header["sha256"] else None
        except Exception:  # a damaged file fails in many ways, and is computed again after each
            return None

    def _sha256(self) -> str:
        # Seconds and forwards become scores too, so that the checksum includes them.
        digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode())
        for name in sorted(self.tensors):
            digest.update(name.encode() + self.tensors[name].numpy().tobytes())
        return digest.hexdigest()


def is_whole(path: Path) -> bool:
    """Return whether a file of the cache matches its checksum, or is of an older format, which nothing reads."""
    try:
        if _header(path.read_bytes()).get("format") != str(FORMAT):
            return True
    except Exception:  # see `_Entry.decode`
        return False
    return _Entry.decode(path) is not None


def _header(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    header: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return header


def digest(sample: Tensor) -> str:
    """Return the sha256 of one sample's shape and values."""
    values = sample.detach().float().cpu().contiguous()
    return hashlib.sha256(str(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()
