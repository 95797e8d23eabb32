"""CelebAMask-HQ in miniature, in the format in which it is published."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

NAMES = [
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open",
    "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
    "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"
]  # fmt: skip

# Boxes (left, top, right, bottom) of the parts of a drawn face in an image of 512x512.
BOXES: Mapping[str, tuple[int, int, int, int]] = {
    "skin": (150, 140, 362, 420),
    "nose": (238, 240, 274, 310),
    "l_eye": (290, 220, 330, 240),
    "r_eye": (182, 220, 222, 240),
    "l_brow": (284, 195, 336, 207),
    "r_brow": (176, 195, 228, 207),
    "l_ear": (362, 230, 384, 300),
    "r_ear": (128, 230, 150, 300),
    "mouth": (214, 346, 298, 356),
    "u_lip": (210, 334, 302, 347),
    "l_lip": (210, 355, 302, 372),
    "hair": (120, 60, 392, 190),
    "neck": (200, 415, 312, 480),
    "cloth": (80, 470, 432, 511),
}
WORN: Mapping[str, tuple[int, int, int, int]] = {
    "eye_g": (170, 205, 342, 255),
    "hat": (110, 20, 402, 150),
    "ear_r": (366, 300, 380, 330),
    "neck_l": (204, 440, 308, 452),
}


def original(number: int) -> int:
    """The number of CelebA, from 0, behind a number of CelebA-HQ: another one, so that a mixed-up join shows."""
    return (number * 7 + 3) % 97


def labels(number: int) -> dict[str, bool]:
    """Attributes of image `number`, such that every edit has candidates."""
    hair = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair", "")[number % 5]
    row = dict.fromkeys(NAMES, False) | {"Young": number % 3 != 0, "No_Beard": number % 4 != 1, "Male": number % 2 == 1}
    row |= {"Smiling": number % 2 == 0, "Eyeglasses": number % 6 == 2, "Wearing_Hat": number % 8 == 7}
    row |= {"Mustache": number % 8 == 5, "Wearing_Earrings": number % 7 == 4, "Wearing_Lipstick": number % 4 == 0}
    row |= {"Bangs": number % 5 == 1, "Wearing_Necklace": number % 9 == 6, "Bald": number % 16 == 15}
    return row | ({hair: True} if hair else {})


def draw_face(number: int, size: int = 1024) -> Image.Image:
    scale = size / 512
    image = Image.new("RGB", (size, size), (40 + number % 50, 90, 160))
    draw = ImageDraw.Draw(image)
    for order, (_, box) in enumerate(BOXES.items()):
        colour = (60 + 9 * order, 200 - 7 * order, (30 * number + 11 * order) % 256)
        draw.ellipse([round(side * scale) for side in box], fill=colour)
    return image


def table(rows: Mapping[str, Mapping[str, bool]]) -> str:
    """The text of an attribute table; the published one has two spaces behind the file name."""
    lines = [str(len(rows)), " ".join(NAMES)]
    lines += [f"{file}  " + " ".join("1" if row[name] else "-1" for name in NAMES) for file, row in rows.items()]
    return "\n".join(lines) + "\n"


def write_celeba(root: Path, count: int = 24, size: int = 1024) -> Path:
    """Write the unpacked data set into `root`, image 3 without ears and 5 in grey."""
    images = root / "CelebA-HQ-img"
    images.mkdir(parents=True)
    for number in range(count):
        face = draw_face(number, size)
        (face.convert("L") if number == 5 else face).save(images / f"{number}.jpg", quality=95)
        masks = root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        masks.mkdir(parents=True, exist_ok=True)
        row = labels(number)
        seen = dict(BOXES)
        worn = {"eye_g": "Eyeglasses", "hat": "Wearing_Hat", "ear_r": "Wearing_Earrings", "neck_l": "Wearing_Necklace"}
        seen |= {part: WORN[part] for part, name in worn.items() if row[name]}
        for part, box in seen.items():
            if number == 3 and part in ("l_ear", "r_ear", "ear_r"):
                continue
            mask = Image.new("RGB" if number % 2 else "L", (512, 512))
            ImageDraw.Draw(mask).ellipse(box, fill=(255, 255, 255) if number % 2 else 255)
            mask.save(masks / f"{number:05d}_{part}.png", compress_level=1)
    rows = {f"{number}.jpg": labels(number) for number in range(count)}
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text(table(rows))
    lines = ["idx orig_idx orig_file"]
    lines += [f"{number}           {original(number)}    {original(number) + 1:06d}.jpg" for number in range(count)]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")
    # By CelebA's names, in their order: a join on the number of CelebA-HQ or on orig_idx takes the wrong rows.
    part = {original(number) + 1: 2 if number >= count // 4 else 0 for number in range(count)}
    (root / "list_eval_partition.txt").write_text(
        "".join(f"{file:06d}.jpg {part.get(file, 1)}\n" for file in range(1, 100))
    )
    return root


def pack(folder: Path, archive: Path, top: str = "CelebAMask-HQ") -> Path:
    """Pack what is published as an archive, under its folder of the same name."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != "list_eval_partition.txt":
                file.write(path, f"{top}/{path.relative_to(folder)}")
    return archive
