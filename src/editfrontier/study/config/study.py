"""The config of a study: read, merge, check, and resolve to the variants and tables that the workflow makes.

Snakemake builds the graph with this module, so it imports nothing heavy.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.files import write_bytes
from editfrontier.base.fingerprints import code_hash, variant_name
from editfrontier.base.places import CONFIG
from editfrontier.base.yaml_files import read_yaml
from editfrontier.data.dataset import dataset_problems
from editfrontier.editing.editor import Editor, get_editor, make_params
from editfrontier.models.registry import reference_of
from editfrontier.scoring.metrics import METRICS, REGISTRY
from editfrontier.study.analysis import analysis_params, get_analysis
from editfrontier.study.config.metrics import metric_problems, without_null
from editfrontier.study.config.models import ON_REQUEST, edit_size, kind_problems, model_problems
from editfrontier.study.config.rows import split_table, swept, table_names, unusual
from editfrontier.study.config.schema import check_schema, file_of, wrong
from editfrontier.study.figure import FIGURES
from editfrontier.study.results.naming import variant_label
from editfrontier.study.userstudy.settings import response_patterns, settings_problems

ATTRIBUTE_DRAGS = CONFIG / "attribute_drags.yaml"
RUNNER = "editfrontier.editing.shard"

_NAMING_KEYS = {"registry", "id", "path"}


@dataclass(frozen=True)
class Variant:
    """An editor with its hyperparameters, as one task runs it."""

    name: str
    editor: str
    model: str | None  # a key of the config's `models`; None = needs no model
    params: Mapping[str, Any]  # those that differ from the editor's defaults
    module: str  # where its code is
    carry: str = "png"  # what a step of a chain hands to the next one
    size: int | None = None  # shorter side of the images that the editor gets; None = as they are


@dataclass(frozen=True)
class Study:
    """A checked config with everything resolved that the workflow needs."""

    config: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Variant]]  # task -> variant name -> variant
    tables: Mapping[str, Mapping[str, Any]]  # table name -> entry with the variant of each row
    analyses: Mapping[str, Mapping[str, Any]]  # name -> entry with its experiments, models and parameters resolved
    left_out: frozenset[str] = frozenset()  # kinds of evaluator that are null in the config

    def as_written(self) -> dict[str, Any]:
        """Return the complete config as a file may hold it: resolved again, it gives this study."""
        evaluators = {**self.config["evaluators"], **dict.fromkeys(sorted(self.left_out))}
        return {**self.config, "evaluators": evaluators}

    def edit_spec(self, task: str, variant: str) -> dict[str, Any]:
        """Return everything that determines the images of a variant, apart from its cases and weights."""
        chosen = self.variants[task][variant]
        return {
            "editor": chosen.editor,
            "variant": chosen.name,
            "params": dict(chosen.params),
            "model": reference_of(self.config["models"][chosen.model]) if chosen.model else None,
            "dtype": self.config["compute"]["dtype"],
            "seed": self.config["seed"],
            "code": code_hash(chosen.module, RUNNER) + _data_hash(get_editor(chosen.editor), chosen.params),
        } | unusual(chosen.carry, chosen.size)

    def controls(self, task: str) -> list[str]:
        """Return the variants of a task that are no editors: by their editor, or because a row says so."""
        rows = [row for table in self.tables.values() if table["task"] == task for row in table["rows"]]
        return sorted({row["variant"] for row in rows if row["control"]})

    def experiments(self, task: str) -> dict[str, list[str]]:
        """Return the variants of each experiment on a task."""
        tables = {name: table for name, table in self.tables.items() if table["task"] == task and "by" not in table}
        return {name: list(dict.fromkeys(row["variant"] for row in table["rows"])) for name, table in tables.items()}

    def shown_by(self, figure: str) -> Mapping[str, Any]:
        """Return the table that a figure shows, empty for a figure that shows none."""
        return self.tables.get(self.config["figures"][figure].get("table", ""), {})

    def shown_metrics(self, task: str) -> list[str]:
        """Return the metrics that tables on a task show."""
        return sorted({name for table in self.tables.values() if table["task"] == task for name in table["metrics"]})

    def summary_settings(self, task: str) -> dict[str, Any]:
        """Return the settings of a task's summary: the section `statistics`, controls, experiments and metrics."""
        section = {key: value for key, value in self.config["statistics"].items() if key != "tasks"}
        resolved = {
            "controls": self.controls(task),
            "metrics": self.shown_metrics(task),
            "experiments": self.experiments(task),
        }
        return {**resolved, **section, **self.config["statistics"].get("tasks", {}).get(task, {})}

    def splits(self, task: str) -> list[str]:
        """Return what the tables of a task are split by."""
        return sorted({table["by"] for table in self.tables.values() if table["task"] == task and "by" in table})


def _data_hash(editor: Editor, params: Mapping[str, Any]) -> str:
    """Return "+" and a hash for the drags that stand for attributes, if used, and for files that the editor names."""
    hashes = []
    if "optional_drags" in editor.needs:
        hashes.append(hashlib.sha256(ATTRIBUTE_DRAGS.read_bytes()).hexdigest()[:12])
    if editor.fingerprint is not None:
        hashes.append(editor.fingerprint(make_params(editor, params)))
    return "".join(f"+{text}" for text in hashes)


def write_config(study: Study, file: Path) -> None:
    """Write the complete config of a study as YAML, unless the file holds it already."""
    text = yaml.safe_dump(study.as_written(), sort_keys=False, allow_unicode=True, width=120, explicit_end=True)
    if not file.is_file() or file.read_bytes() != text.encode():
        write_bytes(file, text.encode())


def load_study(files: Sequence[Path]) -> Study:
    """Read config files, the later over the earlier, and resolve them; raise `UserError` for anything that is wrong."""
    config: dict[str, Any] = {}
    for file in files:
        config = merge(config, read_yaml(file))
    return resolve_study(config, files)


def resolve_study(config: Mapping[str, Any], files: Sequence[Path] = ()) -> Study:
    """Check a merged config and resolve it.

    Args:
        config: the merged mapping; its key `extends` names a file, beside the first of `files`, that it changes.
        files: where the config comes from, so that messages can name the file.

    Raises:
        UserError: a key is unknown, a value has the wrong type or range, or a name refers to nothing.
    """
    sources = [Path(file) for file in files]
    complete = dict(config)
    seen: set[str] = set()
    while base := complete.pop("extends", None):
        if not isinstance(base, str) or base in seen:
            raise UserError(
                f"{file_of(sources, ('extends',))}: key 'extends': {base!r}, expected the name of another config file."
            )
        seen.add(base)
        extended = (sources[0].parent if sources else CONFIG) / base
        if not extended.is_file():
            named = file_of(sources, ("extends",))
            raise UserError(f"{named}: key 'extends': there is no file {extended}. Correct the name.")
        sources.insert(0, extended)
        complete = merge(read_yaml(sources[0]), complete)
    complete, left_out = without_null(complete)
    check_schema(complete, sources)
    for path, problem in model_problems(complete, left_out):
        raise wrong(sources, path, problem)
    variants, tables = _resolve_experiments(complete, sources)
    # What `run` leaves out has no figure either; a config that changes another could not take it away.
    complete["figures"] = {
        name: entry
        for name, entry in complete["figures"].items()
        if (entry["table"] in tables if "table" in entry else complete.keys() >= set(FIGURES.get(name).needs))
    }
    problems = (dataset_problems(complete), kind_problems(complete), settings_problems(complete, tables))
    for place, problem in chain[tuple[Sequence[str | int], str]](*problems, metric_problems(complete, left_out)):
        raise wrong(sources, place, problem)
    return Study(complete, variants, tables, _resolve_analyses(complete, sources, tables), left_out)


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `change` over it: mappings merge key by key, everything else is replaced.

    A model that is named anew replaces the whole entry, as one cannot have both a `path` and a `registry`.
    """
    merged = dict(copy.deepcopy(dict(base)))
    for key, value in change.items():
        old = None if isinstance(value, Mapping) and _NAMING_KEYS & value.keys() else merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else copy.deepcopy(value)
        )
    return merged


# --- experiments -----------------------------------------------------------------------------------------------------


def _resolve_experiments(
    config: Mapping[str, Any], files: Sequence[Path]
) -> tuple[dict[str, dict[str, Variant]], dict[str, dict[str, Any]]]:
    for name, entry in config["editors"].items():
        path = ["editors", name]
        editor = _editor(files, path, name)
        _known(files, [*path, "model"], entry.get("model", editor.model), config["models"], "model of the config")
        _overrides(files, [*path, "params"], editor, entry.get("params", {}))
    variants: dict[str, dict[str, Variant]] = {task: {} for task in config["tasks"]}
    tables: dict[str, dict[str, Any]] = {}
    for position, name in enumerate(config["run"]):
        _known(files, ["run", position], name, config["experiments"], "experiment")
        experiment = config["experiments"][name]
        path = ["experiments", name]
        _known(files, [*path, "task"], experiment["task"], config["tasks"], "task")
        for index, metric in enumerate(experiment["metrics"]):
            if metric not in METRICS:
                raise wrong(files, [*path, "metrics", index], f"'{metric}': {REGISTRY.unknown(metric)}")
        rows = []
        for index, listed in enumerate(experiment["rows"]):
            for row in swept(listed):
                variant = _variant(config, files, [*path, "rows", index], row)
                variants[experiment["task"]][variant.name] = variant
                editor = get_editor(variant.editor)
                # Colour and marker stand here so that figures are drawn again when they change.
                look = {"control": editor.control, "colour": editor.colour, "marker": editor.marker}
                usual = {"variant": variant.name, "label": _label(config, row), **look}
                rows.append(usual | row | {"params": dict(variant.params)})
        whole = {key: value for key, value in experiment.items() if key != "by"}
        tables[name] = {"name": name, **whole, "rows": rows}
        for split in experiment.get("by", []):
            table = split_table(tables[name], split)
            if table["name"] in config["run"]:
                problem = f"'{name}' split by {split} has the same name. Rename one of them."
                raise wrong(files, ["experiments", table["name"]], problem)
            tables[table["name"]] = table
    for task in config["statistics"].get("tasks", {}):
        _known(files, ["statistics", "tasks", task], task, config["tasks"], "task")
    makeable = table_names(config["experiments"])
    for figure, entry in config["figures"].items():
        _figure(files, ["figures", figure], figure, entry, makeable)
    return variants, tables


def _resolve_analyses(
    config: Mapping[str, Any], files: Sequence[Path], tables: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    resolved: dict[str, dict[str, Any]] = {}
    for position, name in enumerate(config.get("analyse", [])):
        _known(files, ["analyse", position], name, config.get("analyses", {}), "analysis of the config")
        entry, path = config["analyses"][name], ["analyses", name]
        for key, known, kind in (
            ("experiments", tables, "experiment of 'run'"),
            ("tasks", config["tasks"], "task"),
            ("models", config["models"], "model of the config"),
        ):
            for index, value in enumerate(entry.get(key, [])):
                _known(files, [*path, key, index], value, known, kind)
        try:
            analysis = get_analysis(entry.get("analysis", name))
            analysis_params(analysis, entry.get("params", {}))
        except UserError as error:
            raise wrong(files, path, str(error)) from None
        patterns = [*entry.get("files", []), *response_patterns(config, analysis.name)]
        resolved[name] = {
            "analysis": analysis.name,
            "title": entry["title"],
            "caption": entry.get("caption", ""),
            "experiments": {key: tables[key] for key in entry.get("experiments", [])},
            "tasks": list(entry.get("tasks", [])),
            "models": {key: reference_of(config["models"][key]) for key in entry.get("models", [])},
            "evaluators": {key: reference_of(model) for key, model in config["evaluators"].items()},
            "params": dict(entry.get("params", {})),
            "files": sorted(file for pattern in patterns for file in glob(pattern, recursive=True)),
            "statistics": dict(config["statistics"]),
            "seed": config["seed"],
        }
    return resolved


def _known(files: Sequence[Path], path: Sequence[Any], name: str | None, known: Iterable[str], kind: str) -> None:
    if name is not None and name not in known:
        raise wrong(files, path, f"'{name}' is no {kind}.{did_you_mean(name, known)} Correct the name.")


def _figure(
    files: Sequence[Path], path: Sequence[Any], name: str, entry: Mapping[str, Any], tables: Iterable[str]
) -> None:
    try:
        shows_table = FIGURES.get(name).shows_table
    except UserError as error:
        raise wrong(files, path, str(error)) from None
    if shows_table != ("table" in entry):
        problem = "names no table, expected `table: <experiment>`" if shows_table else "names a table, but shows none"
        raise wrong(files, path, f"{problem}. {'Add' if shows_table else 'Remove'} the key 'table'.")
    _known(files, [*path, "table"], entry.get("table"), tables, "table of an experiment")


def _editor(files: Sequence[Path], path: Sequence[Any], name: str) -> Editor:
    try:
        return get_editor(name)
    except UserError as error:
        raise wrong(files, path, str(error)) from None


def _overrides(files: Sequence[Path], path: Sequence[Any], editor: Editor, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that differ from the editor's defaults, with the types that the editor declares."""
    try:
        defaults = asdict(make_params(editor, {}))
        return {key: value for key, value in asdict(make_params(editor, params)).items() if value != defaults[key]}
    except UserError as error:
        raise wrong(files, path, str(error)) from None


def _label(config: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return the label of a row without one: its editor, and the differences from the editor's entry."""
    editor = get_editor(row["editor"])
    entry = config["editors"][editor.name].get("params", {})
    usual, chosen = (asdict(make_params(editor, params)) for params in (entry, entry | row.get("params", {})))
    changed = {key: chosen[key] for key in chosen if chosen[key] != usual[key]}
    carried = {"carry": row["carry"]} if row.get("carry", "png") != "png" else {}
    sized = {"size": row["size"]} if "size" in row else {}
    return variant_label(variant_name(editor.name, changed | carried | sized))


def _variant(config: Mapping[str, Any], files: Sequence[Path], path: Sequence[Any], row: Mapping[str, Any]) -> Variant:
    editor = _editor(files, [*path, "editor"], row["editor"])
    if editor.name not in config["editors"]:
        fix = f"Add one, for example `{editor.name}: {{}}`."
        raise wrong(files, [*path, "editor"], f"'{editor.name}' has no entry under 'editors'. {fix}")
    entry = config["editors"][editor.name]
    params = _overrides(files, [*path, "params"], editor, entry.get("params", {}) | row.get("params", {}))
    model, carry = entry.get("model", editor.model), row.get("carry", "png")
    try:
        size = edit_size(config, row, editor.name, model)
    except UserError as error:
        where = path if "size" in row else ["editors", editor.name]
        raise wrong(files, [*where, "size"], str(error)) from None
    try:
        name = variant_name(editor.name, params | unusual(carry, size))
    except UserError as error:
        raise wrong(files, [*path, "params"], str(error)) from None
    return Variant(name, editor.name, model, params, editor.edit.__module__, carry, size)


def evaluators_of(study: Study, task: str) -> dict[str, Any]:
    """Return the entries of the evaluators that score a task, by kind.

    One of `ON_REQUEST` is among them where an experiment on the task lists one of its metrics, a composite of the task
    is made of it, or an analysis of such an experiment names it.
    """
    tables = [table for table in study.tables.values() if table["task"] == task]
    named = {metric for table in tables for metric in table["metrics"]}
    statistics = study.config.get("statistics", {})
    settings = {**statistics, **statistics.get("tasks", {}).get(task, {})}
    named |= {metric for axis in ("fidelity", "controllability") for metric in settings.get(axis, [])}
    for entry in study.analyses.values():
        if any(table["task"] == task for table in entry["experiments"].values()):
            named |= set(entry["params"].get("metrics", []))
    by_kind: dict[str, Any] = study.config["evaluators"]
    return {kind: entry for kind, entry in by_kind.items() if kind not in ON_REQUEST or named & ON_REQUEST[kind]}
