"""Chains in the shard runner: order, resuming, longer chains, failed steps, shards, and latents between steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editfrontier import editors
from editfrontier.base.errors import UserError
from editfrontier.base.parquet import read_parquet
from editfrontier.data.cases import Case, read_cases, read_image, write_cases, write_png
from editfrontier.data.chains import chains_of
from editfrontier.editing import shard
from editfrontier.editing.chains import links_by_step
from editfrontier.editing.latent_carry import carrying
from editfrontier.editing.records import CaseRecord
from editfrontier.scoring.score import prepare_sources, score_variant
from editfrontier.study.config.study import load_study
from editfrontier.study.results.gallery import read_task
from fake_evaluators import fake_evaluators
from tiny_pipelines import SIZE, tiny_pipeline

LEVELS = 10  # grey levels that the editor "theirs" adds
QUICK = {"num_inference_steps": 4}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_pipeline()


def chain_cases(folder: Path, chains: int = 3, steps: int = 3) -> Path:
    """Write a table of chains, and one case that is in none."""
    random = np.random.default_rng(1)
    cases = []
    for number in range(chains + 1):
        write_png(folder / f"image-{number}.png", random.integers(20, 100, (SIZE, SIZE, 3), dtype=np.uint8))
        for step in range(1, (steps if number < chains else 1) + 1):
            single = number == chains
            mask = np.zeros((SIZE, SIZE), dtype=bool)
            mask[4 * step : 4 * step + 8, 6:20] = True
            case_id = "single" if single else f"chain-{number}-k{step}"
            write_png(folder / f"mask-{case_id}.png", mask)
            cases.append(
                Case(
                    case_id=case_id,
                    task="chains",
                    image=f"image-{number}.png",
                    source_caption=f"face {step - 1}",
                    target_caption=f"face {step}",
                    instruction=f"add {step}",
                    edit_type="attribute_add",
                    mask=f"mask-{case_id}.png",
                    cluster=f"image-{number}",
                    chain="" if single else f"chain-{number}",
                    step=step,
                    licence="CC0-1.0",
                )
            )
    write_cases(folder / "cases.parquet", cases)
    return folder / "cases.parquet"


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return chain_cases(tmp_path / "data" / "chains")


def run(cases: Path, out: Path, editor: str = "theirs", **options: Any) -> dict[str, CaseRecord]:
    spec = {"editor": editor, "variant": editor, "params": {}, "seed": 1, **options.pop("spec", {})}
    arguments: dict[str, Any] = {"shard": 0, "shards": 1, "batch_size": 4, "progress": lambda line: None, **options}
    record = out / f"shard-{arguments['shard']}.parquet"
    rows = shard.run_shard(cases, spec=spec, record=record, images_dir=out / "images", **arguments)
    return {row.case_id: row for row in rows}


@pytest.fixture
def calls() -> list[dict[str, float]]:
    """What the editor "theirs" was given: for each call, the mean level of each case's image."""
    return []


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, calls: list[dict[str, float]]) -> set[str]:
    """Register an editor that adds ten grey levels; it breaks on the cases that are put into the set."""
    broken: set[str] = set()

    def brighten(model: Any, batch: editors.EditBatch, params: Any) -> torch.Tensor:
        means = ((batch.images + 1) * 127.5).mean((1, 2, 3)).tolist()
        calls.append(dict(zip(batch.case_ids, means, strict=True)))
        if broken & set(batch.case_ids):
            raise ValueError("cannot do this one")
        return batch.images + LEVELS / 127.5

    made = editors.Editor("theirs", editors.NoParams, brighten, needs=frozenset({"instruction"}))
    known = editors.get_editor
    monkeypatch.setattr(shard, "get_editor", lambda name: made if name == "theirs" else known(name))
    return broken


def test_every_step_gets_the_image_that_the_step_before_made(
    cases: Path, tmp_path: Path, theirs: set[str], calls: list[dict[str, float]]
) -> None:
    rows = run(cases, tmp_path / "out")
    assert list(rows) == [case.case_id for case in read_cases(cases)]
    assert {row.status for row in rows.values()} == {"ok"}
    for number in range(3):
        source = read_image(cases.parent / f"image-{number}.png").astype(int)
        for step in (1, 2, 3):
            made = read_image(tmp_path / "out" / rows[f"chain-{number}-k{step}"].image)
            assert np.array_equal(made, source + LEVELS * step)
    assert [sorted(call) for call in calls] == [
        ["chain-0-k1", "chain-1-k1", "chain-2-k1", "single"],
        ["chain-0-k2", "chain-1-k2", "chain-2-k2"],
        ["chain-0-k3", "chain-1-k3", "chain-2-k3"],
    ]


def test_a_killed_chain_goes_on_from_its_last_step(
    cases: Path, tmp_path: Path, theirs: set[str], calls: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(cases, tmp_path / "whole")
    calls.clear()
    original = shard.read_carried

    def killed(row: CaseRecord, *rest: Any) -> Any:
        if row.case_id == "chain-1-k2":
            raise KeyboardInterrupt
        return original(row, *rest)

    monkeypatch.setattr(shard, "read_carried", killed)
    with pytest.raises(KeyboardInterrupt):
        run(cases, tmp_path / "out")
    assert not (tmp_path / "out" / "shard-0.parquet").exists()
    monkeypatch.setattr(shard, "read_carried", original)
    done = {name for call in calls for name in call}
    assert len(done) == 7
    calls.clear()
    rows = run(cases, tmp_path / "out")
    assert {name for call in calls for name in call} == {f"chain-{i}-k3" for i in range(3)}
    assert {name: row.sha256 for name, row in rows.items()} == {name: row.sha256 for name, row in whole.items()}


def test_a_longer_chain_recomputes_nothing(tmp_path: Path, theirs: set[str], calls: list[dict[str, float]]) -> None:
    short = run(chain_cases(tmp_path / "data", steps=2), tmp_path / "out")
    calls.clear()
    long = run(chain_cases(tmp_path / "data", steps=4), tmp_path / "out")
    assert [sorted(call) for call in calls] == [[f"chain-{i}-k{step}" for i in range(3)] for step in (3, 4)]
    assert all(long[name] == row for name, row in short.items())
    calls.clear()
    (tmp_path / "out" / long["chain-1-k2"].image).write_bytes(b"damaged")
    run(chain_cases(tmp_path / "data", steps=4), tmp_path / "out")
    # The step is made again with the same bytes, so that those after it are still good.
    assert [sorted(call) for call in calls] == [["chain-1-k2"]]


def test_another_image_at_one_step_makes_the_later_ones_anew(
    cases: Path, tmp_path: Path, theirs: set[str], calls: list[dict[str, float]]
) -> None:
    run(cases, tmp_path / "out")
    calls.clear()
    write_png(cases.parent / "image-1.png", np.full((SIZE, SIZE, 3), 50, dtype=np.uint8))
    run(cases, tmp_path / "out")
    assert [sorted(call) for call in calls] == [["chain-1-k1"], ["chain-1-k2"], ["chain-1-k3"]]
    assert [round(call[f"chain-1-k{k}"]) for k, call in enumerate(calls, start=1)] == [50, 60, 70]


def test_a_failed_step_leaves_the_rest_of_its_chain_not_run_and_counted(tmp_path: Path, theirs: set[str]) -> None:
    cases = chain_cases(tmp_path / "data" / "chains", steps=4)
    theirs.add("chain-1-k2")
    lines: list[str] = []
    out = tmp_path / "edits" / "chains" / "theirs"
    rows = run(cases, out, progress=lines.append)
    assert [rows[f"chain-1-k{k}"].status for k in (1, 2, 3, 4)] == ["ok", "failed", "not run", "not run"]
    reasons = {rows[f"chain-1-k{k}"].reason for k in (3, 4)}
    assert reasons == {
        "not run, since step 2 of its chain failed: case chain-1-k2: ValueError: cannot do this one",
    }
    others = [row.status for name, row in rows.items() if not name.startswith("chain-1")]
    assert others == ["ok"] * 9
    assert "10 edited, 1 failed, 2 not run" in lines[-1]
    # Downstream they count as failures with this reason.
    found = read_task(tmp_path, "chains", ["theirs"]).variants["theirs"]
    assert found.failures["chain-1-k4"] == rows["chain-1-k4"].reason
    prepare_sources(cases, None, fake_evaluators(), tmp_path / "sources.npz")
    scores = tmp_path / "scores.parquet"
    score_variant(
        cases, [out / "shard-0.parquet"], tmp_path / "sources.npz", fake_evaluators(), scores, tmp_path / "f.npz"
    )
    frame, about = read_parquet(scores, "")
    assert about["counts"] == {"cases": 13, "ok": 10, "failed": 3}
    assert about["failures"]["chain-1-k3"] == rows["chain-1-k3"].reason
    drift = frame[frame.metric == "l2_source"].set_index("case_id")["value"]
    for k in (1, 2, 3, 4):
        assert drift[f"chain-0-k{k}"] == pytest.approx(LEVELS * k / 255)


def test_a_case_that_cannot_be_read_stops_its_chain_only(cases: Path, tmp_path: Path, theirs: set[str]) -> None:
    made = [replace(c, instruction="") if c.case_id == "chain-2-k2" else c for c in read_cases(cases)]
    write_cases(cases, made)
    rows = run(cases, tmp_path / "out")
    assert [rows[f"chain-2-k{k}"].status for k in (1, 2, 3)] == ["ok", "failed", "not run"]
    assert "step 2 of its chain failed: case chain-2-k2: has no instruction" in rows["chain-2-k3"].reason
    assert sum(row.status == "ok" for row in rows.values()) == 8


def test_a_chain_is_of_one_shard_and_has_the_same_bytes_in_any(cases: Path, tmp_path: Path, model: Any) -> None:
    spec = {"params": QUICK}
    whole = run(cases, tmp_path / "one", "mask_guided", model=model, spec=spec)
    assert {row.status for row in whole.values()} == {"ok"}
    split: dict[str, CaseRecord] = {}
    for index in range(3):
        part = run(cases, tmp_path / "three", "mask_guided", model=model, spec=spec, shard=index, shards=3)
        assert len({name.split("-k")[0] for name in part}) == (2 if index == 0 else 1)
        split |= part
    assert {name: row.sha256 for name, row in split.items()} == {name: row.sha256 for name, row in whole.items()}


def test_cases_without_chains_keep_their_shards() -> None:
    cases = [
        Case(case_id=f"c{i}", task="t", image="", source_caption="", target_caption="", instruction="",
             edit_type="", cluster="x", licence="")
        for i in range(7)
    ]  # fmt: skip
    for index in range(3):
        chains = chains_of(cases)[index::3]
        assert [case for (case,) in chains] == cases[index::3]
    (column,) = links_by_step(chains_of(cases))
    assert [link.case for link in column] == cases
    assert {link.before for link in column} == {None}


@pytest.mark.parametrize("steps", [[1, 3], [2], [1, 1, 2]])
def test_steps_that_are_missing_or_doubled_are_named(steps: list[int]) -> None:
    cases = [
        Case(case_id=f"c{i}", task="t", image="", source_caption="", target_caption="", instruction="",
             edit_type="", cluster="x", licence="", chain="a", step=step)
        for i, step in enumerate(steps)
    ]  # fmt: skip
    with pytest.raises(UserError, match=f"chain a: its steps are {', '.join(map(str, steps))}, expected 1 to"):
        chains_of(cases)


# Latents between steps ------------------------------------------------------------------------------------------------


def count_calls(monkeypatch: pytest.MonkeyPatch, vae: Any) -> dict[str, int]:
    counts = {"encode": 0, "decode": 0}
    for name in counts:
        original = getattr(type(vae), name)

        def counted(self: Any, *args: Any, original: Any = original, name: str = name, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(type(vae), name, counted)
    return counts


def test_carried_latents_are_those_that_were_decoded(
    cases: Path, tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The autoencoder's round trip is then the identity from the second step on, and encodes nothing any more."""
    counts = count_calls(monkeypatch, model.vae)
    spec = {"carry": "latents"}
    rows = run(cases, tmp_path / "out", "autoencoder_round_trip", model=model, spec=spec)
    assert counts == {"encode": 1, "decode": 3}
    png = run(cases, tmp_path / "png", "autoencoder_round_trip", model=model)
    assert counts == {"encode": 4, "decode": 6}
    for number in range(3):
        kept = {rows[f"chain-{number}-k{k}"].sha256 for k in (1, 2, 3)}
        assert len(kept) == 1
        lost = {png[f"chain-{number}-k{k}"].sha256 for k in (1, 2, 3)}
        assert len(lost) == 3
        assert png[f"chain-{number}-k1"].sha256 in kept
    assert "encode" not in vars(model.vae)


@pytest.mark.parametrize(
    ("editor", "kind", "encoded"),
    [
        ("instruct_pix2pix", "instruct_pix2pix", 1),  # the source; diffusers' pipeline encodes it
        ("sd_inpaint", "inpainting", 1 + 3),  # the source, and the image without its masked part at every step
    ],
)
def test_pipelines_of_diffusers_get_carried_latents_too(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editor: str, kind: str, encoded: int
) -> None:
    pipeline = tiny_pipeline(kind)
    counts = count_calls(monkeypatch, pipeline.vae)
    spec = {"params": {"num_inference_steps": 2}, "carry": "latents"}
    rows = run(cases, tmp_path / "out", editor, model=pipeline, spec=spec)
    assert {row.status for row in rows.values()} == {"ok"}
    assert all('"latents_kept": 1.0' in row.measures for row in rows.values())
    assert counts == {"encode": encoded, "decode": 3}


@pytest.mark.parametrize("editor", ["mask_guided", "sdedit"])
def test_latents_survive_a_kill(cases: Path, tmp_path: Path, model: Any, editor: str) -> None:
    spec = {"params": QUICK, "carry": "latents"}
    whole = run(cases, tmp_path / "whole", editor, model=model, spec=spec)
    assert all('"latents_kept": 1.0' in row.measures for row in whole.values())
    png = run(cases, tmp_path / "png", editor, model=model, spec={"params": QUICK})
    assert whole["chain-0-k1"].sha256 == png["chain-0-k1"].sha256
    assert whole["chain-0-k2"].sha256 != png["chain-0-k2"].sha256

    everything = read_cases(cases)
    write_cases(cases, [case for case in everything if case.step < 3])
    run(cases, tmp_path / "out", editor, model=model, spec=spec)
    write_cases(cases, everything)
    rows = run(cases, tmp_path / "out", editor, model=model, spec=spec)
    assert {name: row.sha256 for name, row in rows.items()} == {name: row.sha256 for name, row in whole.items()}
    # A step whose latents are damaged is made again.
    path = next((tmp_path / "out" / "images").glob("*/chain-1-k1.latents.safetensors"))
    good = path.read_bytes()
    path.write_bytes(good[:-4])
    again = run(cases, tmp_path / "out", editor, model=model, spec=spec)
    assert path.read_bytes() == good
    assert again["chain-1-k3"].sha256 == whole["chain-1-k3"].sha256


def test_pixels_are_carried_where_an_editor_returns_no_decoded_image(cases: Path, tmp_path: Path, model: Any) -> None:
    spec = {"params": {**QUICK, "composite": "locked"}, "carry": "latents"}
    rows = run(cases, tmp_path / "out", "mask_guided", model=model, spec=spec)
    assert {row.status for row in rows.values()} == {"ok"}
    assert all('"latents_kept": 0.0' in row.measures for row in rows.values())
    assert not list((tmp_path / "out").rglob("*.latents.safetensors"))


def test_images_that_are_not_known_are_encoded_as_ever(model: Any) -> None:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = torch.randn(4, 8, 8)
    with torch.no_grad():
        expected = model.vae.encode(images).latent_dist.mode()
        with carrying(model.vae, [(pixels[0], latents), (pixels[1], None)]):
            through = (images / 2 + 0.5) * 2 - 1  # as pipelines of diffusers take and give them
            found = model.vae.encode(through).latent_dist
            masked = model.vae.encode(images * 0.5).latent_dist.mode()
        outside = model.vae.encode(images).latent_dist.mode()
        half = model.vae.encode(images * 0.5).latent_dist.mode()
    assert torch.equal(found.mode()[0], latents)
    assert torch.allclose(found.sample()[0], latents, atol=1e-5)
    assert torch.allclose(found.mode()[1], expected[1], atol=1e-4)
    assert torch.equal(masked, half)
    assert torch.equal(outside, expected)


def test_what_is_carried_stands_in_the_variant(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    rows = "[{editor: sdedit}, {editor: sdedit, carry: latents}]"
    text = f"extends: micro.yaml\nexperiments: {{table2: {{task: portraits, rows: {rows}}}}}\n"
    for name in ("micro.yaml", "language.yaml"):
        (tmp_path / name).write_text((root / "config" / name).read_text())
    (tmp_path / "mine.yaml").write_text(text)
    study = load_study([tmp_path / "mine.yaml"])
    names = [row["variant"] for row in study.tables["table2"]["rows"]]
    assert names == ["sdedit", "sdedit+carry=latents"]
    assert "carry" not in study.edit_spec("portraits", names[0])
    assert study.edit_spec("portraits", names[1])["carry"] == "latents"
    assert study.tables["table2"]["rows"][1]["label"] == "SDEdit (carry=latents)"
    (tmp_path / "mine.yaml").write_text(text.replace("carry: latents", "carry: latent"))
    with pytest.raises(UserError, match="Did you mean 'latents'"):
        load_study([tmp_path / "mine.yaml"])
    with pytest.raises(UserError, match="expected png or latents"):
        run(tmp_path / "none.parquet", tmp_path, "source", spec={"carry": "jpeg"})
