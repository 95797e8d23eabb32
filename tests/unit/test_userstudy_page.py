"""The file of the user study's page: what is in it, and what must not be."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editfrontier.study.userstudy import page
from editfrontier.study.userstudy.materials import Design, make_design
from editfrontier.study.userstudy.page import page_data, render, write_study
from editfrontier.study.userstudy.settings import StudySettings
from userstudy_fixture import EDITORS, HOSTILE, make_results

ENTRY = {"experiment": "table1", "participants": 6, "pairs": 10, "raters": 3, "catch_trials": 2, "repeats": 2}


class World:
    """A study on disk with its page."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = make_results(root)
        self.file = root / "user_study" / "index.html"
        entry = {**ENTRY, "responses": str(root / "responses")}
        self.design: Design = write_study(root, self.table, entry, self.file, self.file.with_name("design.json"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("results"))


def test_page_holds_the_design_without_giving_anything_away(world: World) -> None:
    text = world.file.read_text()
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL).group(1)
    for word in (*EDITORS, "true", "catch", "repeat", "answer", "case-"):
        assert word not in re.sub(r'"images":\[[^]]*\]', "", data)
    assert HOSTILE not in text
    for outside in ('src="http', 'href="http', "url(http", "fetch(", "XMLHttpRequest", "sendBeacon"):
        assert outside not in text
    assert "Content-Security-Policy" in text
    assert world.design.hash in text


def test_data_of_the_page_names_the_images_of_every_trial(world: World) -> None:
    design, images = make_design(world.root, world.table, StudySettings.of(ENTRY))
    assert design.hash == world.design.hash
    data = page_data(design, images)
    for own, shown in zip(design.trials, data["trials"], strict=True):
        for trial, (case, first, second) in zip(own, shown, strict=True):
            assert (data["names"][first], data["names"][second]) == (trial.left_image, trial.right_image)
            source, instruction = data["cases"][case]
            assert (data["names"][source], instruction) == design.sources[trial.case]
    json.dumps(data, allow_nan=False)
    assert render(design, images) == world.file.read_text()


def test_images_of_the_page_are_exact_while_they_are_few(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)

    def shown() -> np.ndarray:
        content = page_data(world.design, dict.fromkeys(names, image))["images"][0]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))

    names = {image for image, _ in world.design.sources.values()}
    names |= {name for own in world.design.trials for t in own for name in (t.left_image, t.right_image)}
    assert (shown() == image).all()
    monkeypatch.setattr(page, "LOSSLESS_PIXELS", 0)
    assert not (shown() == image).all()
