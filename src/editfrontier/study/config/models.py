"""Checks of the models in a config, and the size of the images that an editor gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from editfrontier.base.errors import UserError
from editfrontier.editing.editor import get_editor
from editfrontier.models.kinds import MODEL_KINDS
from editfrontier.models.registry import entry_problem, get_entry, segmenter_problem, size_of
from editfrontier.scoring.evaluator import EVALUATORS
from editfrontier.scoring.metrics import METRICS

ON_REQUEST = {
    kind: frozenset(name for name, metric in METRICS.items() if metric.needs == kind)
    for kind, evaluator in EVALUATORS.load_all().items()
    if evaluator.on_request
}
"""Kinds of evaluator that a task loads only where one of their metrics is asked for -> these metrics."""


def model_problems(config: Mapping[str, Any], left_out: Set[str]) -> Iterator[tuple[list[str], str]]:
    """Yield problems of models, evaluators and segmenters, as (path of the key, problem).

    Args:
        config: valid by the schema.
        left_out: kinds of evaluator that are `null` in it.
    """
    for name in sorted({*config["evaluators"], *left_out}):
        if name not in EVALUATORS:
            yield ["evaluators", name], EVALUATORS.unknown(name)
    for section in ("models", "evaluators"):
        for name, entry in config[section].items():
            kinds = MODEL_KINDS if section == "models" else EVALUATORS.get(name).served_by
            if problem := entry_problem(entry, kinds):
                yield [section, name], problem
    for name, task in config["tasks"].items():
        segmenter = task.get("options", {}).get("sam")
        if isinstance(segmenter, str) and (problem := segmenter_problem(segmenter)):
            yield ["tasks", name, "options", "sam"], problem


def kind_problems(config: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Yield editors with a model of another kind than they run, as (path of the key, problem).

    Only models of the registry have a known kind. The editors of the config exist.
    """
    for name, entry in config["editors"].items():
        kind = get_editor(name).model
        model = entry.get("model", kind)
        registered = config["models"].get(model, {}).get("registry")
        if registered and (actual := get_entry(registered).kind) != kind:
            problem = f"'{name}' runs a model of kind {kind}, but '{model}' ({registered}) is of kind {actual}"
            yield ["editors", name, "model"] if "model" in entry else ["models", model], f"{problem}. Name another one."


def edit_size(config: Mapping[str, Any], row: Mapping[str, Any], editor: str, model: str | None) -> int | None:
    """Return the size of the images that a row's editor gets, None for the images as they are.

    Args:
        config: the complete config.
        row: of an experiment.
        editor: its editor, whose entry has the size if the row has none.
        model: key of the editor's model, or None.

    Raises:
        UserError: no size suits the row; the message is the problem, without the place.
    """
    size = row.get("size", config["editors"][editor].get("size", "evaluation"))
    if size == "evaluation":
        return None
    if model is None:
        raise UserError(f"'{editor}' runs no model, so that no size suits it better than another. Remove the size.")
    if row.get("carry", "png") == "latents":
        raise UserError("images that are scaled back have no latents to carry. Remove the size, or carry png.")
    pixels = size_of(config["models"][model]) if size == "native" else int(size)
    if pixels is None:
        raise UserError(
            f"the size that the model '{model}' was trained at is not known. Add `size` to its entry of `models`."
        )
    return pixels
