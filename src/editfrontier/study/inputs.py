"""What an analysis reads: the experiments that its entry in the config names, their cases, scores and images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.base.integrity.arrays import read_npz
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import Case, read_cases
from editfrontier.statistics.bootstrap import Array, cluster_weights
from editfrontier.statistics.taskscores import Settings, TaskScores, read_scores
from editfrontier.study.results.gallery import read_task
from editfrontier.study.results.naming import Row, Table, parse_table


@dataclass(frozen=True)
class Inputs:
    """Inputs of one analysis.

    Attributes:
        name: key of the analysis in the config.
        root: results folder of the scale.
        experiments: those that the entry names, with the variants and labels of their rows.
        tasks: those that the entry names, for analyses that need cases but no edits.
        models: kind -> folder of the pipelines that the entry names.
        evaluators: kind -> folder of the networks that score.
        settings: of the statistics, without those of single tasks.
        files: those that the entry's patterns match.
        seed: of the study.
        device: where networks run.
        statistics: the config's mapping that `settings` come from.
    """

    name: str
    root: Path
    experiments: Mapping[str, Table]
    tasks: tuple[str, ...]
    models: Mapping[str, Path]
    evaluators: Mapping[str, Path]
    settings: Settings
    files: tuple[Path, ...]
    seed: int
    device: str
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def settings_of(self, experiment: str) -> Settings:
        """Return the settings of an experiment's task, with the controls among its rows."""
        table = self.experiments[experiment]
        controls = tuple(sorted({row.variant for row in table.rows if row.control}))
        return replace(Settings.of(self.statistics, table.task), controls=controls)

    @cached_property
    def labels(self) -> dict[str, str]:
        """Variant -> what readers call it; the first experiment that has it decides."""
        return {row.variant: row.label for row in reversed(self.rows)}

    @property
    def rows(self) -> list[Row]:
        """Rows of all experiments, in order."""
        return [row for table in self.experiments.values() for row in table.rows]

    def editors(self, experiment: str) -> list[Row]:
        """Return the rows of an experiment that are no controls."""
        return [row for row in self.experiments[experiment].rows if not row.control]

    def only_experiment(self, what: str) -> tuple[str, Table]:
        """Return the one experiment that the entry names; raise `UserError` if it names none or several.

        Args:
            what: for the message, for example "on a task of the data set wordings".
        """
        if len(self.experiments) != 1:
            raise UserError(
                f"analysis '{self.name}': names {len(self.experiments)} experiments, expected one, {what}. Correct "
                "`experiments` of its entry."
            )
        return next(iter(self.experiments.items()))

    def folder(self, task: str) -> Path:
        """Return the folder of a task's case table, which the paths of its cases are relative to."""
        return self.root / "data" / task

    def cases(self, task: str) -> list[Case]:
        """Return the cases of a task."""
        return read_cases(self.folder(task) / "cases.parquet")

    def scores(self, experiment: str, variants: Iterable[str] | None = None) -> TaskScores:
        """Return the scores of an experiment's variants (or of some of them), the rows in the order of its cases."""
        table = self.experiments[experiment]
        names = list(dict.fromkeys(row.variant for row in table.rows) if variants is None else variants)
        folders = self.root / "scores" / table.task, self.root / "features" / table.task
        return read_scores(
            [folders[0] / f"{name}.parquet" for name in names],
            [folders[1] / f"{name}.npz" for name in names],
            folders[0] / "sources.npz",
        )

    def features(self, task: str, variant: str) -> dict[str, Any]:
        """Return what the networks gave for a variant's images: `case_ids` [n] and, where the evaluator was there,
        `attributes` [n, A] (probabilities), `clip_image` [n, D], `identity` [n, D] and `features` [n, D]."""
        return read_npz(self.root / "features" / task / f"{variant}.npz", "Run `snakemake scores` again.")

    def sources(self, task: str) -> dict[str, Any]:
        """Return the arrays of the sources of a task (see `sources.prepare_sources`)."""
        return read_npz(self.root / "scores" / task / "sources.npz", "Run `snakemake scores` again.")

    def images(self, task: str, variant: str) -> dict[str, Path]:
        """Return the edited image of every case that did not fail."""
        records = read_task(self.root, task, [variant]).variants[variant].records
        return {case_id: record.image for case_id, record in records.items() if record.image is not None}

    def weights(self, clusters: int, *parts: str) -> Array:
        """Return resample weights [R, clusters] of the study's bootstrap; equal `parts` give equal weights."""
        return cluster_weights(clusters, self.settings.resamples, stable_seed(self.name, *parts, self.settings.seed))


def make_inputs(name: str, entry: Mapping[str, Any], root: Path, device: str) -> Inputs:
    """Make the inputs from an analysis' resolved entry (see `config.Study.analyses`)."""
    return Inputs(
        name,
        root,
        {key: parse_table(table) for key, table in entry["experiments"].items()},
        tuple(entry["tasks"]),
        {key: Path(path) for key, path in entry["models"].items()},
        {key: Path(path) for key, path in entry["evaluators"].items()},
        Settings.of(entry["statistics"]),
        tuple(Path(file) for file in entry["files"]),
        int(entry["seed"]),
        device,
        entry["statistics"],
    )
