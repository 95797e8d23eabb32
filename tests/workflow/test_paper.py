"""The config of the paper's scale: checked, planned and dry-run without its weights and data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from editfrontier.models.registry import UNPINNED, entry_of, get_entry
from editfrontier.study.config.study import load_study
from workspace import Workspace, make_workspace

SECONDS = 20


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("paper")
    return Workspace(make_workspace(folder, stub=True).folder, "config/paper.yaml")


def test_it_is_a_study_of_published_models(root: Path) -> None:
    study = load_study([root / "config/paper.yaml"])
    compute = study.config["compute"]
    assert (compute["device"], compute["dtype"]) == ("cuda", "bfloat16")
    for section in ("models", "evaluators"):
        assert all("registry" in entry for name, entry in study.config[section].items() if name != "full_reference")
    named = {get_entry(entry["registry"]).title for entry in study.config["models"].values()}
    assert {"Stable Diffusion 2 base", "FLUX.1 [dev]", "InstructPix2Pix"} <= named
    for task, variants in study.variants.items():
        assert study.config["tasks"][task].get("repeats", 1) in (1, 3)
        for variant in variants:
            spec = study.edit_spec(task, variant)
            assert spec["model"] is None or entry_of(spec["model"]) is not None
    # What the paper reports has its row here, by the same editor with the same settings.
    reported = (root / "config/reported_values.csv").read_text().splitlines()[1:]
    wanted = {tuple(line.split(",")[i] for i in (0, 2, 3)) for line in reported if line.startswith("table")}
    shown = set()
    for name, table in study.tables.items():
        for row in table["rows"]:
            method, _, configuration = row.get("paper", "default").rpartition("/")
            shown.add((name, method or row["editor"], configuration))
    assert wanted <= shown, wanted - shown


def test_editors_run_at_256_pixels_and_at_their_own_size(root: Path) -> None:
    study = load_study([root / "config/paper.yaml"])
    sizes = {name: variant.size for name, variant in study.variants["faces"].items()}
    assert sizes["mask_guided"] is None and sizes["mask_guided+size=512"] == 512
    assert sizes["drag_flow+size=512"] == 512
    own = {row["editor"] for row in study.tables["table1_native"]["rows"] if "size" in row}
    assert own >= {row["editor"] for row in study.tables["table1"]["rows"] if "paper" not in row} - {
        "source",
        "random_image",
        "flow_reconstruction",
    }


MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stderr=subprocess.STDOUT)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("measured", used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(done.returncode)
"""
"""Runs a command in a small process of its own: a child counts the memory of the process that it was forked from."""


def test_dry_run_needs_neither_weights_nor_data_nor_time(fresh: Workspace) -> None:
    study = load_study([fresh.folder / fresh.config])
    command = [sys.executable, "-c", MEASURED, *fresh.command("--dry-run", "--quiet", "rules")]
    text = subprocess.run(command, cwd=fresh.folder, env=fresh.environment, text=True, capture_output=True).stdout
    text, _, measured = text.rpartition("measured ")
    seconds, memory = measured.split()
    assert float(seconds) < SECONDS  # of processors, not by the clock: tests run beside each other
    assert int(memory) < 2 * 2**20  # KiB
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", text.rpartition("Job stats:")[2], flags=re.MULTILINE))
    edits = sum(len(found) * study.config["tasks"][task]["shards"] for task, found in study.variants.items())
    assert int(counts["edit"]) == edits > 500
    assert "validation" not in counts  # of the micro world
    assert not (fresh.folder / "weights").exists() and not (fresh.folder / "resources/micro/flux/unet").exists()


def test_what_is_missing_is_told_before_anything_runs(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "editfrontier", "weights", "--check", "--config", "config/paper.yaml"]
    environment = os.environ | {"HF_HOME": str(tmp_path), "EDITFRONTIER_WEIGHTS": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    *models, last = done.stdout.splitlines()
    lines = {line.split(" ")[0]: line for line in models}
    assert lines.pop("resources/pyiqa").endswith("is here")  # FSIM, GMSD and VIF have no weights
    assert last.startswith(f"{len(lines)} of {len(models)} models cannot be used yet. Run `editfrontier weights")
    assert "gated: accept its licence first" in lines["flux_dev"]
    assert "non-commercial" in lines["arcface_ir_se50"]
    assert "models.text_to_image, evaluators.autoencoder" in lines["sd2_base"]
    for line in lines.values():
        assert "not pinned" in line or "is missing" in line or "not in the cache" in line
    assert UNPINNED not in done.stdout


def test_jobs_run_without_a_hub_and_weights_with_one(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, stub=True)
    note = 'import os\nopen("offline-{}", "w").write(os.environ.get("HF_HUB_OFFLINE", ""))\n'
    (workspace.folder / "src/editfrontier/__main__.py").write_text(note.format("weights"))
    script = workspace.folder / "scripts/reference.py"
    script.write_text(script.read_text() + "    " + note.format("reference").replace("\n", "\n    ").rstrip())
    workspace.run("weights", "results/smoke/data/reference.npz", "--cores", "1")
    said = {name: (workspace.folder / f"offline-{name}").read_text() for name in ("weights", "reference")}
    assert said == {"weights": "0", "reference": "1"}
