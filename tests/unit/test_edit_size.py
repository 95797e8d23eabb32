"""Editing at the size that a model was trained at, judging at the size of the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from editfrontier import editors
from editfrontier.data.cases import read_image
from editfrontier.data.regions import Region, apply, warp_mask
from editfrontier.editing import shard
from editfrontier.editing.editor import EditBatch
from editfrontier.editing.records import EditSpec, key
from editfrontier.editing.size import edit_sides, scaled_batch, scaled_images
from tiny_pipelines import SIZE, tiny_cases, tiny_pipeline


def test_sides_keep_the_shape_and_what_the_model_divides_by() -> None:
    assert edit_sides((256, 256), 512, 8) == (512, 512)
    assert edit_sides((256, 384), 512, 8) == (512, 768)
    assert edit_sides((250, 333), 512, 16) == (512, 688)
    assert edit_sides((250, 333), None, 16) == (250, 333)


def test_images_are_scaled_as_pillow_does_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    for side in (20, 64):
        planes = [Image.fromarray(pixels[..., k].astype(np.float32)) for k in range(3)]
        expected = [np.asarray(p.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255) for p in planes]
        found = (scaled_images(image, (side, side))[0] + 1) * 127.5
        np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-3)
    assert scaled_images(image, (40, 40)) is image


def test_drags_and_masks_move_with_the_images() -> None:
    height, width = 32, 48
    source = np.zeros((height, width), dtype=bool)
    source[8:16, 10:20] = True
    affine = np.array([[0.9, -0.2, 12.0], [0.2, 0.9, 1.0]])
    region = Region("rotation", source, affine, warp_mask(source, affine), (((12.0, 9.0), (20.0, 11.0)),), (3.0, 4.0))
    batch = EditBatch(
        case_ids=["a"], images=torch.zeros(1, 3, height, width), masks=torch.from_numpy(source)[None, None].float(),
        source_captions=[""], target_captions=[""], instructions=[""], generators=[torch.Generator()],
        drags=[[region]], backgrounds=torch.from_numpy(~source)[None, None].float(),
    )  # fmt: skip
    large = scaled_batch(batch, (96, 96))  # three times as high, twice as wide
    assert large.images.shape == (1, 3, 96, 96)
    assert torch.equal(large.masks[0, 0], torch.from_numpy(np.repeat(np.repeat(source, 3, 0), 2, 1)).float())
    assert torch.equal(large.backgrounds, 1 - large.masks)
    (moved,) = large.drags[0]

    def up(points: Any) -> Any:
        return (np.asarray(points, dtype=float) + 0.5) * (2, 3) - 0.5

    points = np.array([[12.0, 9.0], [0.0, 0.0], [47.0, 31.0]])
    np.testing.assert_allclose(apply(moved.affine, up(points)), up(apply(affine, points)))
    np.testing.assert_allclose(moved.points[0], up(region.points[0]))
    np.testing.assert_allclose(moved.anchor, up(region.anchor))
    assert np.array_equal(moved.source, np.repeat(np.repeat(source, 3, 0), 2, 1))
    assert (warp_mask(moved.source, moved.affine) ^ moved.target).mean() < 0.02
    assert scaled_batch(batch, (height, width)) is batch


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return tiny_cases(tmp_path / "data")


def run(cases: Path, out: Path, editor: str, size: int | None, model: Any = None) -> dict[str, Any]:
    spec = {"editor": editor, "variant": editor, "seed": 1, "params": {"num_inference_steps": 4} if model else {}}
    spec |= {"size": size} if size else {}
    rows = shard.run_shard(
        cases, 0, 1, spec, out / "shard-0.parquet", out / "images", 4, model=model, progress=lambda line: None
    )
    return {row.case_id: row for row in rows}


def test_an_editor_sees_large_images_and_its_edits_have_the_size_of_the_sources(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def brighten(model: Any, batch: EditBatch, params: Any) -> torch.Tensor:
        seen.append((tuple(batch.images.shape[2:]), tuple(batch.masks.shape[2:])))
        return batch.images * 0.5

    made = editors.Editor("theirs", editors.NoParams, brighten, needs=frozenset({"mask"}))
    monkeypatch.setattr(shard, "get_editor", lambda name: made)
    rows = run(cases, tmp_path / "out", "theirs", 2 * SIZE)
    assert set(seen) == {((2 * SIZE, 2 * SIZE), (2 * SIZE, 2 * SIZE))}
    source = torch.from_numpy(read_image(cases.parent / "image-0.png").copy()).permute(2, 0, 1)[None] / 127.5 - 1
    large = scaled_images(source, (2 * SIZE, 2 * SIZE))
    expected = (scaled_images(large * 0.5, (SIZE, SIZE))[0] + 1) * 127.5
    found = read_image(tmp_path / "out" / rows["case-0"].image)
    assert found.shape == (SIZE, SIZE, 3)
    assert np.abs(found - expected.permute(1, 2, 0).numpy()).max() <= 0.51


def test_a_pipeline_edits_at_its_own_size(cases: Path, tmp_path: Path) -> None:
    model = tiny_pipeline()
    sizes = []
    model.unet.register_forward_pre_hook(lambda m, args, kwargs: sizes.append(args[0].shape[-1]), with_kwargs=True)
    large = run(cases, tmp_path / "large", "mask_guided", 2 * SIZE, model)
    usual = run(cases, tmp_path / "usual", "mask_guided", None, model)
    assert {row.status for row in large.values()} == {row.status for row in usual.values()} == {"ok"}
    assert len(set(sizes)) == 2 and max(sizes) == 2 * min(sizes)
    assert large["case-0"].sha256 != usual["case-0"].sha256
    assert read_image(tmp_path / "large" / large["case-0"].image).shape == (SIZE, SIZE, 3)


def test_specs_without_a_size_keep_the_name_of_their_images() -> None:
    spec = EditSpec("sdedit", "sdedit")
    values = {
        "editor": "sdedit", "variant": "sdedit", "params": {}, "model": None, "seed": 0, "dtype": "float32", "code": "",
        "carry": "png",
    }  # fmt: skip
    import hashlib

    before = hashlib.sha256(json.dumps([values, "w"], sort_keys=True).encode()).hexdigest()[:16]
    assert key(spec, "w") == before != key(EditSpec("sdedit", "sdedit", size=512), "w")
