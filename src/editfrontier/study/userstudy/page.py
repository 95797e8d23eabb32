"""The page of the study: one file that works from a disk, with every participant's trials and images in it.

It holds nothing that tells editors, catch trials or right answers apart: trials name images by number only.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from editfrontier.base.files import write_bytes
from editfrontier.study.report.webpage import render_page
from editfrontier.study.userstudy.fixed import answered_design, keep_design, present_state
from editfrontier.study.userstudy.materials import Design, Image, make_design, write_design
from editfrontier.study.userstudy.responses import FORMAT, VERSION
from editfrontier.study.userstudy.settings import StudySettings

LOSSLESS_PIXELS = 8_000_000
"""Up to so many pixels in all, images are kept exactly; more are compressed, or the file would be too large to send."""
_QUALITY = 92
SECONDS_A_TRIAL = 8
"""For the time that the page announces; the analysis reports what people really took."""


def write_study(root: Path, table: Mapping[str, Any], entry: Mapping[str, Any], page: Path, design: Path) -> Design:
    """Make the design of a study and its page, or keep those that people have answered and say what differs from them
    now. Command line: `user-study`.

    Args:
        table: resolved entry of the experiment whose edits are judged.
        page, design: files to write, HTML and JSON.

    Raises:
        UserError: the edits are too few (see `materials.make_design`), or people judged another experiment.
    """
    settings = StudySettings.of(entry)
    responses = Path(settings.responses)
    if answered := answered_design(responses, design, page):
        kept, text, count = answered
        shown = present_state(root, table, settings, kept, count)
    else:
        shown, images = make_design(root, table, settings)
        text = render(shown, images).encode()
    keep_design(responses, shown, text)
    write_bytes(page, text)
    write_design(design, shown)
    return shown


def page_data(design: Design, images: Mapping[str, Image]) -> dict[str, Any]:
    """Return what the page's script reads: per participant and trial (case, left image, right image) as numbers."""
    number = {name: index for index, name in enumerate(sorted(images))}
    cases = {case: index for index, case in enumerate(design.sources)}
    lossless = sum(image.shape[0] * image.shape[1] for image in images.values()) <= LOSSLESS_PIXELS
    return {
        "format": FORMAT,
        "version": VERSION,
        "design": design.hash,
        "names": sorted(images),
        "images": [_encode(images[name], lossless) for name in sorted(images)],
        "cases": [[number[image], instruction] for image, instruction in design.sources.values()],
        "trials": [
            [[cases[trial.case], number[trial.left_image], number[trial.right_image]] for trial in session]
            for session in design.trials
        ],
    }


def _encode(image: Image, lossless: bool) -> str:
    buffer = io.BytesIO()
    # For lossless images quality and method are effort: more of it takes six times as long and saves a twentieth.
    options = {"quality": 30, "method": 2} if lossless else {"quality": _QUALITY, "method": 4}
    Pillow.fromarray(image).save(buffer, format="WEBP", lossless=lossless, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def render(design: Design, images: Mapping[str, Image]) -> str:
    """Return the page as HTML; text of the study enters it as data only."""
    trials = len(design.trials[0])
    minutes = max(1, round(trials * SECONDS_A_TRIAL / 60))
    context = {"participants": len(design.trials), "trials": trials, "minutes": minutes}
    return render_page("userstudy.html.j2", "userstudy.css", "userstudy.js", context, page_data(design, images))
