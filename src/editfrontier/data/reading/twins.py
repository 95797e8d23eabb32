"""Sources that are one picture under several names, which statistics must resample together.

CelebA-HQ has thirteen such pairs, benchmarks share photos of COCO, and users may name one file in two ways.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.data.cases import Case, read_image

if TYPE_CHECKING:
    from editfrontier.data.pictures import Pixels

log = logging.getLogger(__name__)


def pixel_hash(pixels: Pixels) -> str:
    """Return a hash of a picture uint8 [H, W, 3] that only a picture with the same pixels shares."""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def joined(cases: Sequence[Case], folder: Path, noted: Mapping[str, set[str]]) -> list[Case]:
    """Return cases with the cluster and the identity of the first source for all sources of equal pixels.

    Args:
        cases: cases of a task, with the clusters of the data set.
        folder: the folder that their paths are relative to.
        noted: cluster -> hashes of its sources before they were cropped, if the data set noted them
            (`Request.note_source`). Other clusters are compared by the images of their cases.
    """
    images: dict[str, set[str]] = {}  # cluster -> images of its cases, in order of appearance
    for case in cases:
        images.setdefault(case.cluster, set()).add(case.image)
    owner: dict[str, str] = {}  # hash of a source -> the first cluster that has it
    first: dict[str, str] = {}  # cluster -> an earlier one that it shares a source with, or itself
    for cluster, paths in images.items():
        hashes = noted.get(cluster) or {pixel_hash(read_image(folder / path)) for path in paths}
        known = sorted({_root(first, owner[key]) for key in hashes if key in owner}, key=list(first).index)
        root = known[0] if known else cluster
        first |= dict.fromkeys((cluster, *known), root)
        owner |= dict.fromkeys(hashes, root)
        for twin in (*known[1:], *([cluster] if known else [])):
            log.info("the sources %s and %s have equal pixels, they are one cluster", root, twin)
    people = {case.cluster: case.identity for case in reversed(cases)}
    roots = (_root(first, case.cluster) for case in cases)
    return [
        case if root == case.cluster else replace(case, cluster=root, identity=people[root])
        for case, root in zip(cases, roots, strict=True)
    ]


def _root(first: Mapping[str, str], cluster: str) -> str:
    while first[cluster] != cluster:
        cluster = first[cluster]
    return cluster
