"""The study of config/paper.yaml from data to report: fixtures for its data sets, random checkpoints for its models.

Nothing is left out of the config but the evaluator of quality (MUSIQ), which needs a package that is not installed for
tests; its two metrics must then be absent, and nothing else. Made smaller are images, cases, repeats, steps, sweeps,
resamples, participants, and what the analyses of theory take (`paper_study`). Values mean nothing, except where a
control has a known one.
"""

from __future__ import annotations

import json
import math
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from editfrontier.data.cases import read_cases
from editfrontier.scoring.metrics import PSNR_CAP
from editfrontier.study.config.study import Study, load_study
from editfrontier.study.judging.verdict import VERDICTS
from paper_study import NATIVE, SHORT, SIZE, make_paper_study, paper_config
from workspace import Workspace

pytestmark = pytest.mark.slow

UNRATED = {"quality", "artifact"}
"""Metrics of the evaluator that is left out."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = make_paper_study(tmp_path_factory.mktemp("paper_study"))
    workspace.run("--cores", "2")
    return workspace


@pytest.fixture(scope="module")
def study(workspace: Workspace) -> Study:
    return load_study([workspace.folder / workspace.config])


def records(workspace: Workspace, task: str, variant: str) -> pd.DataFrame:
    folder = workspace.results / "edits" / task / variant
    return pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("shard-*.parquet"))], ignore_index=True)


def pixels(workspace: Workspace, task: str, variant: str) -> dict[str, np.ndarray]:
    """Case id -> edited image."""
    folder = workspace.results / "edits" / task / variant
    frame = records(workspace, task, variant)
    return {row.case_id: np.asarray(Image.open(folder / row.image)) for row in frame.itertuples()}


def table(workspace: Workspace, name: str) -> pd.Series:
    """(variant, metric) -> measured value."""
    frame = pd.read_csv(workspace.results / f"tables/{name}.csv")
    frame = frame[frame["variant"].notna()].drop_duplicates(["variant", "metric"])
    return frame.set_index(["variant", "metric"])["value"]


# --- what runs -------------------------------------------------------------------------------------------------------


def test_config_is_that_of_the_paper_with_local_models_and_data(workspace: Workspace) -> None:
    paper, small = paper_config(), yaml.safe_load((workspace.folder / workspace.config).read_text())
    assert set(paper) == set(small)
    for key in ("run", "analyse", "figures", "claims", "reported", "language", "seed"):
        assert small[key] == paper[key]
    assert {name: entry | {"params": {}} for name, entry in small["analyses"].items()} == {
        name: entry | {"params": {}} for name, entry in paper["analyses"].items()
    }
    assert {name for name in SHORT if small["analyses"][name] == paper["analyses"][name]} == set()
    assert small["compute"]["dtype"] == paper["compute"]["dtype"] == "bfloat16"
    assert set(small["models"]) == set(paper["models"])
    evaluators = {name: entry for name, entry in small["evaluators"].items() if entry is not None}
    assert set(paper["evaluators"]) - set(evaluators) == {"quality"}
    for entry in [*small["models"].values(), *evaluators.values()]:
        assert Path(entry["path"]).is_dir()
    for name, task in paper["tasks"].items():
        assert small["tasks"][name]["dataset"] == task["dataset"]
        assert (
            small["tasks"][name]["options"].items()
            >= {
                key: value for key, value in task.get("options", {}).items() if key not in ("steps", "wordings", "sam")
            }.items()
        )
    for name, experiment in paper["experiments"].items():
        for old, new in zip(experiment["rows"], small["experiments"][name]["rows"], strict=True):
            smaller = {"params": new.get("params", {}), "sweep": new.get("sweep", {})}
            assert {**old, **smaller} == {**new, **smaller}
            assert old.get("sweep", {}).keys() == smaller["sweep"].keys()
            assert all(set(values) <= set(old["sweep"][key]) for key, values in smaller["sweep"].items())
        assert {**experiment, "rows": []} == {**small["experiments"][name], "rows": []}


def test_every_case_is_edited_by_every_variant(workspace: Workspace, study: Study) -> None:
    for task, variants in study.variants.items():
        cases = read_cases(workspace.results / f"data/{task}/cases.parquet")
        entry = study.config["tasks"][task]
        assert len(cases) == entry["cases"] * entry.get("repeats", 1)
        assert len({case.cluster for case in cases}) >= 2
        for variant in variants:
            frame = records(workspace, task, variant)
            failed = frame[frame["status"] != "ok"]
            assert failed.empty, f"{task} {variant}: {list(failed['reason'])[:2]}"
            assert set(frame["case_id"]) == {case.case_id for case in cases}
            for image in pixels(workspace, task, variant).values():
                assert image.shape == (SIZE, SIZE, 3)
    assert len(list((workspace.results / "edits/scenes/sdedit+num_inference_steps=10").glob("shard-*.parquet"))) == 2


def test_native_rows_ran_at_the_size_of_the_model(workspace: Workspace, study: Study) -> None:
    seen = 0
    for task, variants in study.variants.items():
        for name, variant in variants.items():
            if variant.size is None:
                continue
            assert variant.size == NATIVE
            usual = next(
                other.name
                for other in variants.values()
                if (other.editor, other.params, other.size, other.carry)
                == (variant.editor, variant.params, None, "png")
            )
            own, others = pixels(workspace, task, name), pixels(workspace, task, usual)
            assert all((own[case_id] != others[case_id]).any() for case_id in own), (task, name)
            seen += 1
    assert seen == 13


def test_chains_go_on_from_the_edit_before(workspace: Workspace, study: Study) -> None:
    for task, latents in (("repeats", True), ("compositions", False), ("sessions", False)):
        cases = read_cases(workspace.results / f"data/{task}/cases.parquet")
        assert max(case.step for case in cases) == 3
        for variant in study.variants[task]:
            images = pixels(workspace, task, variant)
            for case in cases:
                before = next((c for c in cases if c.chain == case.chain and c.step == case.step - 1), None)
                if before is None:
                    continue
                same = bool((images[case.case_id] == images[before.case_id]).all())
                assert same == (variant == "source") or variant == "random_image", (variant, case.case_id)
        assert any(variant.carry == "latents" for variant in study.variants[task].values()) == latents


# --- what comes out --------------------------------------------------------------------------------------------------


def test_every_result_is_there(workspace: Workspace, study: Study) -> None:
    names = ["index.html", "report.zip", "config.yaml", "claims.csv", "user_study/index.html", "user_study/design.json"]
    names += [f"tables/{name}.{form}" for name in study.tables for form in ("csv", "md", "tex")]
    names += [f"figures/{name}.{form}" for name in study.config["figures"] for form in ("pdf", "svg", "png")]
    names += [f"analyses/{name}.{form}" for name in study.analyses for form in ("parquet", "csv", "pdf", "svg", "png")]
    for name in names:
        assert (workspace.results / name).stat().st_size > 0, name
    with zipfile.ZipFile(workspace.results / "report.zip") as archive:
        assert archive.testzip() is None and any(name.endswith("report.html") for name in archive.namelist())


def never_found(workspace: Workspace, variant: str) -> bool:
    """Whether a drag's object is found in no edit, as random features may."""
    scores = pd.read_parquet(workspace.results / f"scores/drags/{variant}.parquet")
    return not scores.loc[scores["metric"] == "object_found", "value"].any()


def test_tables_measure_every_row(workspace: Workspace, study: Study) -> None:
    for name in study.config["run"]:  # not those by kind and size: a part of few cases may have no value
        entry, values = study.tables[name], table(workspace, name)
        absent = set(UNRATED)
        if entry["task"] in ("sessions", "turns"):  # the public part of MagicBrush has no captions
            absent |= {"clip_cos", "clip_score", "clip_directional", "vqa_score", "vqa_choice"}
        for row in entry["rows"]:
            for metric in entry["metrics"]:
                value = values.get((row["variant"], metric), math.nan)
                if metric in absent or (
                    metric in ("centroid_shift", "moved_towards") and never_found(workspace, row["variant"])
                ):
                    assert math.isnan(value), (name, row["variant"], metric)
                else:
                    assert math.isfinite(value), (name, row["variant"], metric)
    parts = pd.read_csv(workspace.results / "tables/table4_kind.csv")
    assert set(parts["subset"].dropna()) == {"relocation", "rotation", "deformation", "mixed"}


def test_controls_have_their_known_values(workspace: Workspace, study: Study) -> None:
    for name, entry in study.tables.items():
        values = table(workspace, name)
        known = {"id_sim": 1, "lpips_bg_masked": 0, "lpips_bg_spatial": 0, "psnr_bg": PSNR_CAP, "ssim_bg": 1}
        known |= {"clip_directional": 0, "l2_source": 0, "l2_latent": 0, "forwards": 0, "moved_towards": 0}
        for metric in entry["metrics"]:
            if ("source", metric) in values and metric in known and math.isfinite(values["source", metric]):
                assert values["source", metric] == pytest.approx(known[metric], abs=1e-4), (name, metric)
    first, native, drags = (table(workspace, name) for name in ("table1", "table1_native", "table4"))
    assert first["random_image", "id_sim"] < 1 and first["random_image", "lpips_bg_spatial"] > 0
    assert first["source", "fid"] == native["source", "fid"] > 0
    assert first["autoencoder_round_trip", "psnr_bg"] < PSNR_CAP
    assert 0 < drags["copy_paste", "lpips_bg_masked"] < drags["random_image", "lpips_bg_masked"]
    inversion = table(workspace, "table2")

    def inverted(start: str) -> str:
        return next(name for name in study.variants["inversion"] if name.startswith(start))

    assert inversion[inverted("flow_reconstruction+method=none"), "forwards"] == 0
    # A direct inversion gives back what the autoencoder gives back.
    direct, alone = (inverted(f"diffusion_reconstruction+method={method}") for method in ("direct", "none"))
    assert inversion[direct, "psnr_source"] == pytest.approx(inversion[alone, "psnr_source"], abs=0.5)


def test_analyses_find_something(workspace: Workspace, study: Study) -> None:
    for name in study.analyses:
        frame = pd.read_csv(workspace.results / f"analyses/{name}.csv")
        assert len(frame) > 0, name
        if name != "user_study":
            assert np.isfinite(frame["value"]).any(), name
    people = pd.read_csv(workspace.results / "analyses/user_study.csv")
    assert people["value"].fillna(0).max() == 0  # nobody answered, and nothing stands in for people
    drift = pd.read_csv(workspace.results / "analyses/drift.csv")
    assert {1.0, 2.0, 3.0} <= set(drift["x"].dropna())


def test_theory_is_computed_on_every_model(workspace: Workspace, study: Study) -> None:
    wanted = {
        "lipschitz": ("tightness", {"ddim/decoder", "ddim/whole", "fireflow/decoder", "fireflow/whole"}),
        "guidance_bound": ("deviation", {""}),
        "locality": ("effective_radius", {"encoder", "decoder", "autoencoder", "unet, t = 301"}),
        "score_difference": ("deviation", {"diffusion/source", "diffusion/empty", "flow/source"}),
    }
    for name, (quantity, levels) in wanted.items():
        file = workspace.results / f"analyses/{name}.csv"
        frame = pd.read_csv(file, keep_default_na=False, na_values={"value": [""]})
        rows = frame[frame["quantity"] == quantity]
        assert set(rows["level"]) == levels, name
        assert (rows["value"] > 0).all() and np.isfinite(rows["value"]).all(), name
        assert set(rows["n"].astype(int)) == {study.analyses[name]["params"]["cases"]}, name
        assert list(frame.loc[frame["quantity"] == "left_out", "value"]) == [0.0], name
    tight = frame[frame["quantity"] == "tightness"]
    assert {(row.level, row.metric) for row in tight.itertuples()} == {
        (level, metric) for level in levels for metric in ("secant", "transition", "local")
    }


def test_ledger_judges_every_claim(workspace: Workspace, root: Path) -> None:
    claims = yaml.safe_load((root / "config/claims.yaml").read_text())
    ledger = pd.read_csv(workspace.results / "claims.csv")
    assert list(ledger["id"]) == list(claims)
    assert set(ledger["verdict"]) <= set(VERDICTS)
    assert ledger["reason"].str.len().min() > 0
    judged = ledger[ledger["verdict"] != "not testable at this scale"]
    assert len(judged) > len(claims) / 3


class Page(HTMLParser):
    """Texts of a page, the data in it, and the addresses that it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.addresses += [str(value) for key, value in attrs if key == "src"]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def test_report_opens_and_names_the_data(workspace: Workspace, study: Study) -> None:
    page = Page()
    page.feed((workspace.results / "index.html").read_text())
    text = " ".join(page.text)
    for name in ("CelebA-HQ", "CelebAMask-HQ", "FFHQ", "COCO", "MagicBrush", "ReD-Bench"):
        assert name in text, name
    for entry in [*study.tables.values(), *study.analyses.values()]:
        assert entry["title"] in text
    assert all(address.startswith("data:") for address in page.addresses)


def test_page_of_the_user_study_shows_edits_and_no_catch_trials(workspace: Workspace) -> None:
    design: dict[str, Any] = json.loads((workspace.results / "user_study/design.json").read_text())
    kinds = {trial["kind"] for own in design["trials"] for trial in own}
    assert kinds == {"pair", "repeat"}


def test_nothing_is_left_to_do(workspace: Workspace) -> None:
    assert "Nothing to be done" in workspace.run("--cores", "2").stdout
