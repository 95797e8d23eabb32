"""FFHQ: reconstructions, edits by a classifier's labels, reference images; on a fixture in the published format."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celeba_files import draw_face
from editfrontier.base.errors import UserError
from editfrontier.data.cases import Case, read_cases, read_image
from editfrontier.data.datasets import ffhq
from editfrontier.data.language import load_language
from editfrontier.data.reading.build import build_task
from editfrontier.data.reading.choice import read_manifest
from editfrontier.data.reading.reference import build_reference
from editfrontier.scoring.sources import _reference_images
from editfrontier.study.config.study import load_study
from ffhq_files import write_ffhq

SIZE = 64
ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "config" / "manifests" / "ffhq.csv"
COUNT = 12
SEED = 2026
"""That of the studies, which the manifest is made with."""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The images that seed 0 takes first, for cases and as reference, and the manifest; with their metadata."""
    wanted = [*ffhq.chosen("validation", 0)[:COUNT], *ffhq.chosen("validation", 0, "reference")[:COUNT]]
    wanted += ffhq.chosen("validation", SEED)[:4]
    return write_ffhq(tmp_path / "ffhq", wanted)


def build(raw: Path, out: Path, n: int = 4, **options: object) -> list[Case]:
    return build_task("inversion", n, 0, out, dataset="ffhq", root=str(raw), **{"size": SIZE, **options})


def write_labels(path: Path) -> Path:
    rows = ["id,smile,glasses,black_hair,blond_hair"]
    for place, name in enumerate(ffhq.chosen("validation", 0)[:COUNT]):
        smile = ("0.99", "0.02", "0.6", "")[place % 4]
        rows.append(f"{int(name):05d},{smile},{place % 2},{int(place % 3 == 0)},{int(place % 3 == 1)}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_without_labels_cases_ask_for_the_image_itself(raw: Path, tmp_path: Path) -> None:
    cases = build(raw, tmp_path / "out")
    assert read_cases(tmp_path / "out" / "cases.parquet") == cases
    for case, name in zip(cases, ffhq.chosen("validation", 0), strict=False):
        assert case.cluster == f"ffhq-{int(name):05d}"
        assert case.edit_type == "reconstruction"
        assert (case.source_caption, case.target_caption) == ("a portrait of a person",) * 2
        assert (case.mask, case.attribute, case.source_attributes, case.instruction) == ("", "", "", "")
        assert case.licence == f"Attribution License (photo by Author {name})"
        expected = draw_face(int(name), 128).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        assert (read_image(tmp_path / "out" / case.image) == np.asarray(expected)).all()


def test_the_committed_manifest_is_what_the_rule_gives(raw: Path, tmp_path: Path) -> None:
    ids = [row["id"] for row in read_manifest(MANIFEST)]
    assert ids == [f"ffhq-{int(name):05d}" for name in ffhq.chosen("validation", SEED)[: len(ids)]]
    assert len(ids) == len(set(ids)) == 1000
    assert all(60000 <= int(name.removeprefix("ffhq-")) < 70000 for name in ids)
    cases = build_task("i", 4, SEED, tmp_path / "out", dataset="ffhq", root=str(raw), size=SIZE, manifest=str(MANIFEST))
    assert [case.cluster for case in cases] == ids[:4]
    with pytest.raises(UserError, match=r"ffhq.csv: row 1 has id 'ffhq-\d+' but the data give"):
        build(raw, tmp_path / "other", manifest=str(MANIFEST))


def flat(raw: Path) -> Path:
    """The same images in one folder, as mirrors have them, without metadata."""
    root = raw.parent / "flat"
    (root / "images1024x1024").mkdir(parents=True)
    for path in raw.rglob("*.png"):
        (root / "images1024x1024" / path.name).write_bytes(path.read_bytes())
    return root


def test_one_folder_with_all_images_is_read_too(raw: Path, tmp_path: Path) -> None:
    (case, *_) = build(flat(raw), tmp_path / "out")
    assert "not looked up" in case.licence


def test_labels_of_a_classifier_make_edits_without_masks(raw: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv")
    cases = build(raw, tmp_path / "out", n=100, labels=str(labels))
    assert len({case.cluster for case in cases}) == len(cases)
    known = ffhq.read_labels(labels, load_language())
    for case in cases:
        before = known[str(int(case.cluster.removeprefix("ffhq-")))]
        assert json.loads(case.source_attributes) == before
        assert before[case.attribute] != case.desired == json.loads(case.target_attributes)[case.attribute]
        assert case.mask == "" and case.instruction
    counts = Counter((case.attribute, case.desired) for case in cases)
    assert {("smile", True), ("smile", False), ("glasses", True), ("black_hair", True)} <= set(counts)
    assert ("black_hair", False) not in counts


def test_what_a_classifier_is_unsure_of_is_not_known(tmp_path: Path) -> None:
    rows = list(ffhq.read_labels(write_labels(tmp_path / "labels.csv"), load_language()).values())
    assert [row.get("smile") for row in rows[:4]] == [True, False, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,smile\n1,0\n", "has no column 'id'"),
        ("id,smiel\n1,0\n", "column 'smiel' is no attribute. Did you mean 'smile'"),
        ("id,smile\n1,yes\n", "line 2: smile is 'yes', expected 0 to 1"),
        ("id,smile\n1,1.5\n", "line 2: smile is '1.5', expected 0 to 1"),
        ("id,smile\na.png,1\n", "line 2: id 'a.png', expected the number"),
        ("id,smile\n00001,1\n1,0\n", "line 3: image 1 comes twice"),
        ("id,smile\n²,1\n", "line 2: id '²', expected the number"),
        ("id,smile,smile\n1,1,0\n", "has the column 'smile' twice"),
        ("id,smile\n1,1\n2,0,99\n", "line 3: has more cells than columns"),
        ("id,smile\n1,0,99\n", "line 2: has more cells than columns"),
        ("id;smile\n1;1\n", "has no column 'id' .*separated by commas"),
    ],
)
def test_labels_in_another_format_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=rf"labels.csv.*{message}"):
        ffhq.read_labels(tmp_path / "labels.csv", load_language())


def test_labels_saved_by_excel_are_read(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbfid,smile\r\n00001,1\r\n2,0\r\n")
    found = ffhq.read_labels(tmp_path / "labels.csv", load_language())
    assert found == {"1": {"smile": True}, "2": {"smile": False}}


def test_the_checksum_of_reference_images_is_checked_too(raw: Path, tmp_path: Path) -> None:
    for path in raw.rglob("*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    with pytest.raises(UserError, match=r"\d{5}.png: has the md5 .* by ffhq-dataset-v2.json"):
        build_reference("ffhq", 3, 0, tmp_path / "reference.npz", root=str(raw), size=SIZE)


def test_a_file_with_another_checksum_is_named(raw: Path, tmp_path: Path) -> None:
    for path in raw.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"\d{5}.png: has the md5 .* by ffhq-dataset-v2.json. It is truncated"):
        build(raw, tmp_path / "out")


def test_an_image_that_is_not_there_is_named(raw: Path, tmp_path: Path) -> None:
    for path in raw.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"images1024x1024/\d{5}/\d{5}.png: no such image file"):
        build(raw, tmp_path / "out")


def test_truncated_metadata_are_named(raw: Path, tmp_path: Path) -> None:
    path = raw / "ffhq-dataset-v2.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UserError, match=r"ffhq-dataset-v2.json: is truncated or in another format"):
        build(raw, tmp_path / "out")
    path.write_text('{"0": {"category": "training"}}')
    with pytest.raises(UserError, match="KeyError"):
        build(raw, tmp_path / "out")


# --- reference images ------------------------------------------------------------------------------------------------


def test_reference_images_are_a_folder_that_scoring_reads(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "reference.npz"
    build_reference("ffhq", 5, 0, out, root=str(raw), size=SIZE)
    first = {path.name for path in (out.parent / "reference").iterdir()}
    assert first == {f"ffhq-{int(name):05d}.png" for name in ffhq.chosen("validation", 0, "reference")[:5]}
    batches = list(_reference_images(out, 3))
    assert [tuple(batch.shape) for batch in batches] == [(3, 3, SIZE, SIZE), (2, 3, SIZE, SIZE)]
    name = ffhq.chosen("validation", 0, "reference")[0]
    expected = np.asarray(draw_face(int(name), 128).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    assert (batches[0][0].permute(1, 2, 0).numpy() == expected).all()
    build_reference("ffhq", 4, 0, out, root=str(raw), size=SIZE)
    assert {path.name for path in (out.parent / "reference").iterdir()} < first


def test_no_image_beyond_those_asked_for_is_read(raw: Path, tmp_path: Path) -> None:
    build_reference("ffhq", COUNT, 0, tmp_path / "reference.npz", root=str(raw), size=SIZE)  # there are no more


def test_more_reference_images_than_there_are_is_an_error(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [int(name) for name in ffhq.chosen("validation", 0, "reference")[:COUNT]]
    monkeypatch.setitem(ffhq.SPLITS, "validation", few)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has 12 images, 13 were asked for"):
        build_reference("ffhq", 13, 0, tmp_path / "reference.npz", root=str(raw), size=SIZE)
    assert not (tmp_path / "reference.npz").exists()


def test_data_sets_of_edits_are_no_reference(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the dataset 'red_bench' has no images apart from edits"):
        build_reference("red_bench", 3, 0, tmp_path / "reference.npz")


def test_a_config_may_name_real_data(tmp_path: Path) -> None:
    text = (
        f"extends: {ROOT / 'config' / 'smoke.yaml'}\n"
        "tasks: {portraits: {dataset: ffhq, cases: 4, shards: 1, options: {split: SPLIT}}}\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text(text.replace("SPLIT", "validation"))
    study = load_study([config])
    assert study.config["tasks"]["portraits"]["dataset"] == "ffhq"
    config.write_text(text.replace("SPLIT", "test"))
    with pytest.raises(UserError, match=r"key 'tasks.portraits.options': dataset 'ffhq', option 'split': 'test'"):
        load_study([config])


def test_the_script_builds_a_task_and_says_what_is_missing(raw: Path, tmp_path: Path, root: Path) -> None:
    spec = {"task": "t", "dataset": "ffhq", "cases": 2, "seed": 0, "options": {"root": str(raw), "size": SIZE}}
    command = [sys.executable, str(root / "scripts/cases.py"), "--out", str(tmp_path / "out" / "cases.parquet")]
    done = subprocess.run([*command, "--spec", json.dumps(spec)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 cases in")
    spec["options"] = {"root": str(tmp_path / "nowhere")}
    done = subprocess.run([*command, "--spec", json.dumps(spec)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: dataset 'ffhq': there is no")
    assert "download_ffhq.py" in done.stderr and "Traceback" not in done.stderr
