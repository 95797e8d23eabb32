"""Inversions kept on disk: one file an image, named by everything that it depends on."""

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

    A model that was changed after loading (adapters, attention control) must not be used with a cache: its weights are
    not those that name the files.

    Attributes:
        folder: of the files; it may be shared by jobs that run at once, and removed at any time between them.
        weights: sha256 of the model's weights.
        code: hash of the code that inverts.
        counter: of the denoiser's forwards. An inversion that is found counts what it took when it was computed.
        spent: for every fetch, what the inversion of each of its images took when it was computed, in seconds.
        computing: seconds that this object spent on computing what was missing.
        hits, misses: images found and computed.
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
            contents: what decides the inversion of each image beside weights and code, as JSON values.
            keep: whether all latents are wanted or only the noisiest; only these are stored.
            compute: rows of the batch -> their trajectory. It gets as many rows as the batch has, repeated if fewer
                images are missing, so that the bytes of a result do not depend on what was there already.
            device: of the result.
        """
        before = self.counter.samples if self.counter else 0
        keys = [self._key(content) for content in contents]
        found = {key: entry for key in dict.fromkeys(keys) if (entry := self._read(key, keep)) is not None}
        missing = {key: row for row, key in enumerate(keys) if key not in found}
        self.hits += sum(key in found for key in keys)
        self.misses += sum(key not in found for key in keys)
        if missing:
            rows = list(missing.values())
            started = time.perf_counter()
            made = compute([*rows, *[rows[-1]] * (len(keys) - len(rows))])
            entries = [_Entry.take(made, place, keep) for place in range(len(rows))]
            elapsed = time.perf_counter() - started
            self.computing += elapsed
            for key, entry in zip(missing, entries, strict=True):
                entry.about["seconds"] = elapsed / len(keys)
                write_bytes(self._path(key, keep), entry.encode())
                found[key] = entry
        chosen = [found[key] for key in keys]
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

        A fetch of other images than one a case (of single cases, of several images of each) is shared out evenly.
        """
        shares = [one if len(one) == count else [sum(one) / count] * count for one in self.spent]
        return [sum(column) for column in zip(*shares, strict=True)]

    def _key(self, content: Mapping[str, Any]) -> str:
        parts = [FORMAT, self.weights, self.code, content]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _path(self, key: str, keep: Keep) -> Path:
        return self.folder / key[:2] / f"{key}.{keep}.safetensors"

    def _read(self, key: str, keep: Keep) -> _Entry | None:
        """Return what is stored, None if there is nothing or the file is damaged; all latents serve where one does."""
        if keep == "noisiest" and (entry := _Entry.decode(self._path(key, "noisiest"))) is not None:
            return entry
        entry = _Entry.decode(self._path(key, "all"))
        if entry is not None and keep == "noisiest":
            entry.tensors["latents"] = entry.tensors["latents"][:1]
        return entry


@dataclass
class _Entry:
    """One image's part: latents [S, C, h, w], extras [...], and what stands in the file's header."""

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
        except Exception:  # a damaged file fails in many ways, and every one of them means to compute it again
            return None

    def _sha256(self) -> str:
        # Seconds and forwards become scores too, so that they are under the checksum as the values are.
        digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode())
        for name in sorted(self.tensors):
            digest.update(name.encode() + self.tensors[name].numpy().tobytes())
        return digest.hexdigest()


def is_whole(path: Path) -> bool:
    """Return whether a file of the cache is as its checksum says; one of an older format is read by nobody and is not
    judged."""
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
