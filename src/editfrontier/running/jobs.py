"""What the rules ask of a study: the values that their jobs get or run again for, the files that they read, hashes.

Plain functions of a study and of wildcards, of which the rules make their parameters. Nothing heavy is imported.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from editfrontier.base.errors import TERMINAL
from editfrontier.base.fingerprints import canonical, code_hash, content_hash
from editfrontier.data.dataset import RENDERED, get_dataset
from editfrontier.models.registry import entry_of, reference_of, segmenters_of, weights_hash
from editfrontier.study.analysis import ANALYSES
from editfrontier.study.config.models import ON_REQUEST
from editfrontier.study.config.study import Study
from editfrontier.study.figure import FIGURES

EXECUTION = ("shards", "batch_size")
"""Keys of a task that do not change its cases."""

Entries = Mapping[str, Mapping[str, Any]]


def shell_prefix(deployment: Collection[str]) -> str:
    """Return what stands before every shell command of the rules; `set -euo pipefail` is Snakemake's own prefix.

    A job's standard error goes to its log; descriptor 3 stays the terminal, for what a full disk would swallow. With
    `--software-deployment-method` a job runs in an environment or an image that lacks the library. Snakemake takes
    PYTHONPATH from conda jobs, and `conda activate` may leave its environment behind the Python of Snakemake in PATH.

    Args:
        deployment: names of the methods in use, of which "conda" and "apptainer" matter.
    """
    prefix = f"set -euo pipefail; exec 3>&2; export {TERMINAL}=3; "
    if deployment:
        first = 'PATH="$CONDA_PREFIX/bin:$PATH" ' if "conda" in deployment else ""
        prefix += f"export {first}PYTHONPATH={shlex.quote(os.path.abspath('src'))} PYTHONNOUSERSITE=1; "
    return prefix


def page_files(user_study: bool) -> list[str]:
    """Return the templates, styles, scripts and fonts of the page of the user study, or of the page of results."""
    kinds = {".j2", ".css", ".js", ".woff2"}
    files = sorted(str(file) for file in Path("reports").rglob("*") if file.suffix in kinds)
    if user_study:
        return [file for file in files if "userstudy" in file or file.endswith(".woff2")]
    return [file for file in files if "userstudy" not in file]


# Cases ---------------------------------------------------------------------------------------------------------------


def cases_spec(study: Study, task: str) -> str:
    """Return what determines the cases of a task."""
    entry = {key: value for key, value in study.config["tasks"][task].items() if key not in EXECUTION}
    if segmenter := segmenters_of(study.config).get(task):
        # A name of the registry may come to stand for another revision, and then the masks are made anew.
        entry["options"] = {**entry["options"], "sam": segmenter}
    return canonical({**entry, "task": task, "seed": study.config["seed"]})


def is_rendered(study: Study, task: str) -> bool:
    """Return whether the cases of a task are of the micro world; others are read from files."""
    return study.config["tasks"][task]["dataset"] in RENDERED


def cases_code(study: Study, task: str) -> str:
    """Return the hash of the code that makes the cases of a task."""
    if is_rendered(study, task):
        return code_hash("editfrontier.microworld.dataset")
    dataset = study.config["tasks"][task]["dataset"]
    return code_hash("editfrontier.data.reading.build", get_dataset(dataset).build.__module__)


def reference_spec(study: Study) -> str:
    """Return what determines the reference images of FID and KID."""
    entry = {**study.config["reference"], "seed": study.config["seed"]}
    if "statistics" in entry and Path(entry["statistics"]).is_file():
        # Not an input: a run without the file is planned, and the job says what is missing.
        entry["content"] = content_hash(entry["statistics"])
    return canonical(entry)


def reference_code(study: Study) -> str:
    """Return the hash of the code that makes the reference images."""
    entry = study.config["reference"]
    if "statistics" in entry:
        return code_hash("editfrontier.scoring.metrics.moments")
    if "dataset" not in entry:
        return code_hash("editfrontier.microworld.dataset")
    images = get_dataset(entry["dataset"]).images
    return code_hash("editfrontier.data.reading.reference", images.__module__)


# Edits and scores ----------------------------------------------------------------------------------------------------


def edit_spec(study: Study, task: str, variant: str) -> str:
    """Return what determines the images of a variant apart from its cases: hyperparameters, seed, code, weights."""
    spec = study.edit_spec(task, variant)
    if spec["model"]:
        spec["code"] += f"+{weights_hash(spec['model'])}"
    return canonical(spec)


def evaluators_for_sources(study: Study) -> Entries:
    """Return the evaluators that are asked about sources: those that judge nothing but edits are left out."""
    return {kind: entry for kind, entry in study.config["evaluators"].items() if kind not in ON_REQUEST}


def references(evaluators: Entries) -> str:
    """Return the evaluators as an option of a job."""
    return canonical({kind: reference_of(entry) for kind, entry in evaluators.items()})


def weights(evaluators: Entries) -> str:
    """Return the hashes of the weights of evaluators."""
    return _weights({kind: reference_of(entry) for kind, entry in evaluators.items()})


def _weights(models: Mapping[str, str]) -> str:
    # Weights are no input files, so that no run ever starts to train what is missing.
    return canonical({name: weights_hash(model) for name, model in models.items()})


# Figures and analyses ------------------------------------------------------------------------------------------------


def statistics_of(table: Mapping[str, Any]) -> str:
    """Return the statistics that a table shows: of its task's cases, or of their parts."""
    return f"<results>/statistics/{table['task']}{'.subsets' if 'by' in table else ''}.parquet"


def figure_files(study: Study, figure: str) -> list[str]:
    """Return the results that a figure is drawn from."""
    return [f"<results>/{file}" for file in FIGURES.get(figure).inputs(study.shown_by(figure))]


def figure_code(study: Study, figure: str) -> str:
    """Return the hash of the code that draws a figure."""
    return code_hash("editfrontier.study.figure", FIGURES.module_of(figure))


def figure_caption(study: Study, figure: str) -> str:
    """Return what Snakemake's report says of a figure."""
    return f"**{FIGURES.get(figure).title}.** {FIGURES.get(figure).caption}"


def analysis_files(study: Study, analysis: str) -> dict[str, list[str]]:
    """Return what an analysis reads: scores of the variants of its experiments, cases of its tasks, its files."""
    entry = study.analyses[analysis]
    files = {"cases": [f"<results>/data/{task}/cases.parquet" for task in entry["tasks"]], "files": entry["files"]}
    for table in entry["experiments"].values():
        files["cases"].append(f"<results>/data/{table['task']}/cases.parquet")
        files.setdefault("sources", []).append(f"<results>/scores/{table['task']}/sources.npz")
        for row in table["rows"]:
            for file in ("<results>/scores/{}/{}.parquet", "<results>/features/{}/{}.npz"):
                files.setdefault("scores", []).append(file.format(table["task"], row["variant"]))
    if entry["analysis"] == "user_study":
        files["design"] = ["<results>/user_study/design.json"]
    return {name: list(dict.fromkeys(paths)) for name, paths in files.items()}


def analysis_weights(study: Study, analysis: str) -> str:
    """Return the hashes of the weights that an analysis may load."""
    entry = study.analyses[analysis]
    return _weights({**entry["evaluators"], **entry["models"]})


def analysis_memory(study: Study, analysis: str) -> int:
    """Return MB of host memory: one model at a time passes through it, in float32, twice as large as published."""
    known = [entry_of(path) for path in study.analyses[analysis]["models"].values()]
    return round(4000 + 2000 * max((entry.download_gb for entry in known if entry), default=0))


def analysis_code(study: Study, analysis: str) -> str:
    """Return the hash of the code of an analysis."""
    return code_hash("editfrontier.study.inputs", ANALYSES.module_of(study.analyses[analysis]["analysis"]))
