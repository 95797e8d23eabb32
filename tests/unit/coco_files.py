"""COCO 2017 in miniature, in the format in which it is published."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "vehicle", "id": 3, "name": "car"},
    {"supercategory": "vehicle", "id": 5, "name": "airplane"},
    {"supercategory": "animal", "id": 17, "name": "cat"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "animal", "id": 22, "name": "elephant"},
    {"supercategory": "furniture", "id": 67, "name": "dining table"},
    {"supercategory": "appliance", "id": 82, "name": "refrigerator"},
]
LICENCES = [
    {"url": "http://creativecommons.org/licenses/by-nc/2.0/", "id": 2, "name": "Attribution-NonCommercial License"},
    {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"},
]
WIDTH, HEIGHT = 320, 240
BOX = (150, 60, 250, 160)
"""Of the object of every image: left, top, right, bottom, whole numbers at the corners of pixels."""

SPECIAL = {"grey": 1, "crowd": 2, "empty": 3, "small": 4, "two": 5, "silent": 6, "person": 7, "aside": 8, "runs": 9}
"""What is odd about an image -> its place in the list."""


def image_id(place: int) -> int:
    return 1000 + 37 * place


def runs_of(mask: np.ndarray) -> list[int]:
    """Uncompressed run lengths down the columns, beginning with what is not in the mask."""
    flat = mask.T.ravel()
    borders = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *borders, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def polygon(box: tuple[int, int, int, int]) -> list[float]:
    left, top, right, bottom = box
    return [float(left), float(top), float(right), float(top), float(right), float(bottom), float(left), float(bottom)]


def write_coco(root: Path, count: int = 24) -> Path:
    """Write the unpacked data set into `root`; every image has one object in `BOX` unless `SPECIAL` says otherwise."""
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    odd = {place: name for name, place in SPECIAL.items()}
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    for place in range(count):
        name, number = odd.get(place, ""), image_id(place)
        size = (100, 90) if name == "small" else (WIDTH, HEIGHT)
        picture = Image.new("RGB", size, (60, 10 * place % 256, 120))
        ImageDraw.Draw(picture).rectangle((BOX[0], BOX[1], BOX[2] - 1, BOX[3] - 1), fill=(250, 240, 20))
        file = f"{number:012d}.jpg"
        (picture.convert("L") if name == "grey" else picture).save(root / "val2017" / file, quality=95)
        entry = {"license": 2 if place % 2 else 4, "file_name": file, "coco_url": "", "flickr_url": "", "id": number}
        images.append({**entry, "width": size[0], "height": size[1], "date_captured": "2013-11-14 17:02:52"})
        category = 1 if name == "person" else 18
        box = (0, 60, 100, 160) if name == "aside" else BOX

        def annotate(category: int, box: tuple[int, int, int, int], number: int = number, **changes: Any) -> None:
            left, top, right, bottom = box
            entry = {"segmentation": [polygon(box)], "area": float((right - left) * (bottom - top)), "iscrowd": 0,
                     "image_id": number, "bbox": [left, top, right - left, bottom - top], "category_id": category,
                     "id": 500000 + len(objects)}  # fmt: skip
            objects.append({**entry, **changes})

        mask = np.zeros((size[1], size[0]), dtype=bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        runs = {"counts": runs_of(mask), "size": [size[1], size[0]]}
        if name == "crowd":
            annotate(18, box, segmentation=runs, iscrowd=1)
        elif name == "runs":
            annotate(18, box, segmentation=runs)
        elif name != "empty":
            annotate(category, box)
        if name == "two":
            annotate(18, (10, 10, 120, 120))
        annotate(22, (0, 0, 20, 20)) if name != "empty" else None  # an elephant too small to be edited
        what = {"person": "man", "silent": "thing"}.get(name, "dog")
        for turn, text in enumerate(
            [
                f"A photo of grass under the sky {place}.",
                f"A brown {what}\n sitting in the grass. ",
                f"The {what} is watching.",
            ]
        ):
            captions.append({"image_id": number, "id": 90000 - 10 * place + turn, "caption": text})
    info = {"description": "COCO 2017 Dataset", "url": "http://cocodataset.org", "version": "1.0", "year": 2017}
    common = {"info": info, "licenses": LICENCES, "images": images}
    (root / "annotations" / "instances_val2017.json").write_text(
        json.dumps({**common, "annotations": objects, "categories": CATEGORIES})
    )
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps({**common, "annotations": captions}))
    return root


def pack_coco(folder: Path, root: Path) -> None:
    """Pack the data set into its two archives."""
    root.mkdir(parents=True, exist_ok=True)
    for archive, part in (("val2017.zip", "val2017"), ("annotations_trainval2017.zip", "annotations")):
        with zipfile.ZipFile(root / archive, "w") as file:
            file.writestr(f"{part}/", "")
            for path in sorted((folder / part).iterdir()):
                file.write(path, f"{part}/{path.name}")
