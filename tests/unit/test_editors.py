"""The registry of editors, the check of hyperparameters, and the controls."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from editfrontier.base import registry
from editfrontier.base.errors import UserError
from editfrontier.editing.editor import EDITORS, EditBatch, Editor, NoParams, get_editor, make_params
from tiny_pipelines import tiny_batch

NAMES = [
    "autoencoder_round_trip",
    "instruct_pix2pix",
    "mask_guided",
    "random_image",
    "sd_inpaint",
    "sdedit",
    "source",
    "true_edit",
]


def test_every_file_is_an_editor_of_its_own_name() -> None:
    assert set(NAMES) <= set(EDITORS)
    for name in NAMES:
        editor = get_editor(name)
        assert editor.name == name
        assert make_params(editor, {}) == editor.params()
        assert (editor.params.__doc__ or "").strip()


def test_registry_and_hyperparameters_do_not_import_torch() -> None:
    code = (
        "import sys\nfrom editfrontier.editing.editor import EDITORS, make_params\n"
        "[make_params(EDITORS.get(name), {}) for name in EDITORS]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_editor_gets_a_proposal() -> None:
    with pytest.raises(UserError, match=r"editor 'sd_edit': there is no such editor\. Did you mean 'sdedit'\?"):
        get_editor("sd_edit")


def test_editor_of_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(name: str, value: str) -> None:
        point = EntryPoint(name, value, EDITORS.group)
        monkeypatch.setattr(registry, "_points_of", lambda group, path: (point,))

    theirs = types.ModuleType("their_package")
    theirs.EDITOR = Editor("theirs", NoParams, lambda model, batch, params: batch.images)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_package", theirs)
    install("theirs", "their_package:EDITOR")
    assert get_editor("theirs").name == "theirs"
    assert "theirs" in EDITORS
    install("renamed", "their_package:EDITOR")
    with pytest.raises(UserError, match=r"the EDITOR of its module.* is called 'theirs', expected 'renamed'\. Rename"):
        get_editor("renamed")
    for value in ("their_package:MISSING", "no_such_package_here:EDITOR"):
        install("theirs", value)
        with pytest.raises(UserError, match=rf"entry point 'theirs = {value}' .*: cannot be loaded"):
            get_editor("theirs")


def test_editor_that_needs_what_no_case_has() -> None:
    with pytest.raises(UserError, match="Did you mean 'mask'"):
        Editor("x", NoParams, lambda model, batch, params: batch.images, needs=frozenset({"masks"}))
    with pytest.raises(UserError, match="Did you mean 'inpainting'"):
        Editor("x", NoParams, lambda model, batch, params: batch.images, model="inpaint")


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "sdedit",
            {"strenght": 0.5},
            "hyperparameter 'strenght': there is no such hyperparameter. Did you mean 'strength'",
        ),
        ("sdedit", {"strength": "0.5"}, "'0.5' is of type str, expected float"),
        ("sdedit", {"strength": True}, "True is of type bool, expected float"),
        ("sdedit", {"strength": 1.5}, r"1.5, expected in \[0, 1\]"),
        ("sdedit", {"strength": 0.01}, "makes no step, expected at least 0.02"),
        ("sdedit", {"guidance_scale": float("nan")}, "expected a finite number"),
        ("sdedit", {"guidance_scale": 0.5}, "0.5, expected at least 1"),
        ("sdedit", {"num_inference_steps": 50.0}, "50.0 is of type float, expected int"),
        ("instruct_pix2pix", {"image_guidance_scale": 0.0}, "'image_guidance_scale': 0.0, expected at least 1"),
        ("mask_guided", {"schedule": "cosin"}, "expected one of cosine, constant.*Did you mean 'cosine'"),
        ("mask_guided", {"mode": "cumulative", "schedule": "printed"}, "never rises"),
        ("mask_guided", {"guidance_scale_outside": "no"}, "expected float or NoneType"),
        ("source", {"strength": 0.5}, "there is no such hyperparameter"),
    ],
)
def test_wrong_hyperparameters_are_named(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_params(get_editor(name), overrides)
    assert f"editor '{name}'" in str(caught.value)


def test_whole_numbers_are_numbers_and_null_is_a_default() -> None:
    params = make_params(get_editor("mask_guided"), {"guidance_scale": 3, "guidance_scale_outside": None})
    assert params.guidance_scale == 3.0
    assert isinstance(params.guidance_scale, float)


def test_parameters_of_a_foreign_editor_need_no_helpers() -> None:
    @dataclass(frozen=True)
    class Params:
        amount: int = 1

    def edit(model: Any, batch: EditBatch, params: Params) -> torch.Tensor:
        return batch.images * params.amount

    assert make_params(Editor("theirs", Params, edit), {"amount": 2}).amount == 2


def test_the_example_of_the_guide_is_an_editor() -> None:
    text = (Path(__file__).parents[2] / "docs" / "adding_an_editor.md").read_text()
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    module = types.ModuleType("colour_shift")
    sys.modules["colour_shift"] = module  # where dataclasses and type hints look names up
    try:
        exec(compile(code, "colour_shift.py", "exec"), module.__dict__)
        batch = tiny_batch()
        made = module.EDITOR.edit(None, batch, make_params(module.EDITOR, {"amount": 1, "jitter": 0.01}))
        with pytest.raises(UserError, match="expected one of white, black"):
            make_params(module.EDITOR, {"colour": "red"})
    finally:
        del sys.modules["colour_shift"]
    assert batch.masks is not None
    inside = (batch.masks == 1).expand_as(made)
    assert made[inside].min() > 0.9
    assert torch.equal(made[~inside], batch.images[~inside])


def test_the_example_of_the_readme_is_an_editor() -> None:
    code = (Path(__file__).parents[2] / "README.md").read_text().split("```python\n", 1)[1].split("```", 1)[0]
    module = types.ModuleType("grey")
    sys.modules["grey"] = module
    try:
        exec(compile(code, "grey.py", "exec"), module.__dict__)
        batch = tiny_batch()
        made = module.EDITOR.edit(None, batch, make_params(module.EDITOR, {}))
    finally:
        del sys.modules["grey"]
    assert torch.allclose(made, batch.images.mean(1, keepdim=True).expand_as(made))


def test_controls() -> None:
    batch = tiny_batch()
    batch.true_edits, batch.others = batch.images * 0.5, batch.images * 0.25
    made = {name: get_editor(name).edit(None, batch, NoParams()) for name in ("source", "true_edit", "random_image")}
    assert torch.equal(made["source"], batch.images)
    assert torch.equal(made["true_edit"], batch.true_edits)
    assert torch.equal(made["random_image"], batch.others)
