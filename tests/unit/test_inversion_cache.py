"""The cache of inversions: same results, same counts, what names a file, damage, jobs that run at once."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editfrontier import inversion
from editfrontier.base.parquet import read_parquet
from editfrontier.diffusion import sampling
from editfrontier.diffusion.sampling import TextEmbeddings
from editfrontier.editing import shard
from editfrontier.editing.editor import EditBatch, Editor, NoParams, get_editor, make_params
from editfrontier.inversion import InversionCache, Trajectory
from tiny_pipelines import tiny_batch, tiny_cases, tiny_pipeline

PROMPTS = ["hat", "old", "beard"]
STEPS = 4


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return tiny_batch(3).images


@pytest.fixture
def counter(model: Any) -> Any:
    found = sampling.ForwardCounter()
    handle = found.attach(model.unet)
    yield found
    handle.remove()


def run(model: Any, images: Tensor, cache: InversionCache | None, prompts: Any = None, **changes: Any) -> Trajectory:
    with torch.no_grad():
        clean = sampling.encode(model, images)
    arguments = {"method": "ddim", "steps": STEPS, "text": prompts or PROMPTS[: len(images)], **changes}
    return inversion.invert(model, clean, images=images, cache=cache, **arguments)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(a: Trajectory, b: Trajectory) -> bool:
    return a.times == b.times and all(torch.equal(x, y) for x, y in zip(a.latents, b.latents, strict=True))


def test_a_hit_is_the_inversion_itself_and_counts_what_it_took(
    model: Any, images: Tensor, tmp_path: Path, counter: Any
) -> None:
    plain = run(model, images, None)
    assert counter.samples == 3 * STEPS
    for expected in ((0, 3), (3, 0)):
        cache, before = InversionCache(tmp_path, "w", "c", counter), counter.samples
        calls: list[int] = []
        handle = model.unet.register_forward_pre_hook(lambda module, args, kept=calls: kept.append(1))
        found = run(model, images, cache)
        handle.remove()
        assert same(found, plain)
        assert found.forwards == STEPS
        assert counter.samples - before == 3 * STEPS
        assert (cache.hits, cache.misses) == expected
        assert len(calls) == (STEPS if expected[1] else 0)
        assert len(cache.seconds(3)) == 3 and min(cache.seconds(3)) > 0
        assert (cache.computing > 0) == bool(expected[1])
    assert len(files(tmp_path)) == 3


def test_bytes_do_not_depend_on_what_was_there(model: Any, images: Tensor, tmp_path: Path, counter: Any) -> None:
    """A missing image fills the batch that it is computed in, wherever it stood."""
    plain = run(model, images, None)
    for present in range(3):
        folder = tmp_path / str(present)
        order = [present] * 3
        run(model, images[order], InversionCache(folder, "w", "c"), [PROMPTS[i] for i in order])
        assert len(files(folder)) == 1
        before = counter.samples
        assert same(run(model, images, InversionCache(folder, "w", "c", counter)), plain)
        assert counter.samples - before == 3 * STEPS


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"start": 1},
        {"method": "dpm_solver"},
        {"prompts": ["hat", "old", "smile"]},
        {"weights": "x"},
        {"code": "x"},
        {"pixels": True},
    ],
)
def test_every_input_names_the_file(model: Any, images: Tensor, tmp_path: Path, change: dict[str, Any]) -> None:
    run(model, images, InversionCache(tmp_path, "w", "c"))
    other = InversionCache(tmp_path, change.pop("weights", "w"), change.pop("code", "c"))
    if change.pop("pixels", False):
        images = images.clone()
        images[2, 0, 0, 0] += 1 / 127.5
    run(model, images, other, **change)
    # A changed prompt or pixel is of the last image only; the others are found.
    assert other.misses in (1, 3)
    assert len(files(tmp_path)) == 3 + other.misses


def test_embeddings_name_the_file_as_texts_do(model: Any, images: Tensor, tmp_path: Path) -> None:
    with torch.no_grad():
        text = sampling.encode_text(model, PROMPTS, False)
    for embedded, misses in ((text, 3), (text, 0), (TextEmbeddings(text.prompt * 2, None), 3)):
        cache = InversionCache(tmp_path, "w", "c")
        run(model, images, cache, embedded)
        assert cache.misses == misses


def test_only_what_is_asked_for_is_stored_and_all_serves_for_one(model: Any, images: Tensor, tmp_path: Path) -> None:
    plain = run(model, images, None)
    short = run(model, images, InversionCache(tmp_path / "a", "w", "c"), keep="noisiest")
    assert len(short.latents) == 1
    assert torch.equal(short.latents[0], plain.latents[0])
    run(model, images, InversionCache(tmp_path / "b", "w", "c"))
    size = {name: sum(path.stat().st_size for path in files(tmp_path / name)) for name in "ab"}
    assert size["a"] < 0.5 * size["b"]
    served = InversionCache(tmp_path / "b", "w", "c")
    assert torch.equal(run(model, images, served, keep="noisiest").latents[0], plain.latents[0])
    assert served.misses == 0
    whole = InversionCache(tmp_path / "a", "w", "c")
    assert same(run(model, images, whole), plain)
    assert whole.misses == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "forwards", "seconds"])
def test_a_damaged_file_is_computed_again(model: Any, images: Tensor, tmp_path: Path, damage: str) -> None:
    plain = run(model, images, InversionCache(tmp_path, "w", "c"))
    victim = files(tmp_path)[0]
    content = victim.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 64]) + content[-4:]
    harmed = {"cut": content[: len(content) // 2], "flipped": flipped, "empty": b"", "text": b"{}"}
    for key in ("forwards", "seconds"):  # they stand in the header, and become scores as the latents do
        digit = re.search(rf'{key}\\": [0-9.]*?([1-9])'.encode(), content)
        assert digit is not None
        place = digit.start(1)
        harmed[key] = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    victim.write_bytes(harmed[damage])
    cache = InversionCache(tmp_path, "w", "c")
    assert same(run(model, images, cache), plain)
    assert (cache.hits, cache.misses) == (2, 1)
    assert InversionCache(tmp_path, "w", "c").folder == tmp_path
    again = InversionCache(tmp_path, "w", "c")
    run(model, images, again)
    assert again.misses == 0


def test_extras_are_kept(model: Any, images: Tensor, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"method": "null_text", "guidance": 3.0, "inner_steps": 1}
    made, found = (run(model, images, InversionCache(tmp_path, "w", "c"), **arguments) for _ in range(2))
    assert torch.equal(made.extras["empty"], found.extras["empty"])
    assert made.forwards == found.forwards


def test_jobs_may_write_the_same_files_at_once(model: Any, images: Tensor, tmp_path: Path) -> None:
    plain = run(model, images, None)
    with torch.no_grad():  # once: a tokenizer serves one thread
        text = sampling.encode_text(model, PROMPTS, False)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: run(model, images, InversionCache(tmp_path, "w", "c"), text), range(8)))
    assert all(same(one, plain) for one in found)
    assert len(files(tmp_path)) == 3


def test_seconds_of_fetches_of_other_sizes_are_shared_out(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path, "w", "c")
    assert cache.seconds(2) == []
    cache.spent = [[1.0, 2.0], [3.0], [1.0, 1.0, 1.0, 1.0]]
    assert cache.seconds(2) == [1.0 + 1.5 + 2.0, 2.0 + 1.5 + 2.0]


def test_a_cache_serves_no_callbacks_and_needs_the_images(model: Any, images: Tensor, tmp_path: Path) -> None:
    cache = InversionCache(tmp_path, "w", "c")
    for change in ({"on_evaluation": lambda time, direction: None}, {"noise": torch.zeros(3, 4, 8, 8)}):
        with pytest.raises(ValueError, match="a cache needs the images"):
            run(model, images, cache, **change)


# In jobs --------------------------------------------------------------------------------------------------------------


def inverting(model: Any, batch: EditBatch, params: Any) -> Tensor:
    clean = sampling.encode(model, batch.images)
    found = inversion.invert(
        model, clean, "ddim", STEPS, batch.source_captions, images=batch.images, cache=batch.inversions
    )
    return sampling.decode(model, found.latents[0])


def test_jobs_share_inversions_and_record_the_same_numbers(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cache the images, forwards and inversions' seconds of a job are those of the job that filled it."""
    cases = tiny_cases(tmp_path / "data")
    made = Editor("theirs", NoParams, inverting, frozenset({"source_caption"}), "text_to_image")
    monkeypatch.setattr(shard, "get_editor", lambda name: made)
    monkeypatch.setattr(shard, "weights_sha256", lambda model: "weights")
    records = {}
    for name in ("none", "fills", "finds"):
        folder = tmp_path / "inversions" if name != "none" else None
        record = tmp_path / name / "shard-0.parquet"
        spec = {"editor": "theirs", "variant": "theirs", "model": "theirs"}
        shard.run_shard(
            cases, 0, 1, spec, record, tmp_path / name, 4, model=model, inversions=folder, progress=lambda line: None
        )
        records[name] = read_parquet(record, "")[0]
    frames = list(records.values())
    assert all((frame.status == "ok").all() for frame in frames)
    for column in ("sha256", "forwards"):
        assert frames[0][column].tolist() == frames[1][column].tolist() == frames[2][column].tolist()
    assert set(frames[0].forwards) == {STEPS}
    assert set(records["none"].measures) == {""}
    spent = [[json.loads(text)["inversion_seconds"] for text in records[name].measures] for name in ("fills", "finds")]
    assert spent[0] == spent[1]
    assert all(seconds > part for frame in frames[1:] for seconds, part in zip(frame.seconds, spent[0], strict=True))


def test_mask_guided_reuses_the_inverted_source(model: Any, tmp_path: Path, counter: Any) -> None:
    batch, editor = tiny_batch(), get_editor("mask_guided")
    params = make_params(editor, {"num_inference_steps": 8, "source_latent": "inverted"})
    made = []
    for cache in (None, InversionCache(tmp_path, "w", "c", counter), InversionCache(tmp_path, "w", "c", counter)):
        fresh = tiny_batch()
        fresh.inversions, before = cache, counter.samples
        made.append((editor.edit(model, fresh, params), counter.samples - before))
    assert all(torch.equal(image, made[0][0]) and count == made[0][1] for image, count in made)
    assert cache is not None and cache.hits == len(batch.images)
