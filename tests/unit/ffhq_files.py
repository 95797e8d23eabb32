"""FFHQ in miniature, in the format in which it is published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from celeba_files import draw_face


def write_ffhq(root: Path, names: Iterable[str], side: int = 128) -> Path:
    """Write images and their metadata into `root`.

    Args:
        root: new folder.
        names: numbers of the images, as texts; those that come twice are written once.
        side: of the images in pixels; the published ones have 1024.
    """
    metadata = {}
    for name in dict.fromkeys(names):
        number = int(name)
        path = root / "images1024x1024" / f"{number - number % 1000:05d}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_face(number, side).save(path)
        metadata[name] = {
            "category": "training" if number < 60000 else "validation",
            "metadata": {"author": f"Author {number}", "license": "Attribution License", "photo_title": "a.JPG"},
            "image": {
                "file_path": f"images1024x1024/{path.parent.name}/{path.name}",
                "file_md5": hashlib.md5(path.read_bytes()).hexdigest(),
                "pixel_size": [1024, 1024],
                "face_landmarks": [[131.62, 453.8]] * 68,
            },
        }
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(metadata))
    return root
