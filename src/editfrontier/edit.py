"""The shard runner: edits its part of a task's cases in batches, resumes, and records what happened to every case."""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from editfrontier import edit_record, editors, sampling
from editfrontier.cases import read_cases
from editfrontier.edit_inputs import TEXTS, Inputs, Pixels, make_batch, read_inputs, to_arrays
from editfrontier.edit_record import EditSpec, Row
from editfrontier.errors import UserError
from editfrontier.seeding import stable_seed
from editfrontier.spec import code_hash

_WRITERS = 2


def run_shard(
    cases_path: Path,
    shard: int,
    shards: int,
    spec: Mapping[str, Any] | EditSpec,
    record: Path,
    images_dir: Path,
    batch_size: int = 16,
    device: str = "cpu",
    *,
    model: Any = None,
    inversions: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Edit the cases whose place in the table is `shard` modulo `shards`, and write their record last.

    Finished images of an earlier, interrupted run are taken over if the spec, the inputs of the case and the file are
    unchanged. Every batch is filled up to `batch_size`, so that a case gives the same bytes in any batch and shard.

    Args:
        cases_path: case table.
        shard: in 0 .. shards - 1.
        shards: at least 1.
        spec: what to run, as `EditSpec` or its JSON values.
        record: parquet table to write, one `Row` for every case of the shard, with provenance in its metadata.
        images_dir: images go to a folder of it that is named by the hash of spec and weights, as <case_id>.png.
        batch_size: cases that are edited together; halved when memory runs out.
        device: "cpu", "cuda", "cuda:1" or "auto".
        model: a loaded diffusers pipeline to use instead of loading `spec.model` (benchmarks and tests).
        inversions: folder in which inversions are kept for other editors and runs; None keeps none.
        progress: receives one line for every batch; by default it goes to stderr.

    Returns:
        The rows of the record. A case that cannot be edited is a failed row with its reason.

    Raises:
        UserError: the table, the spec, the hyperparameters or the model are wrong, so that no case can be edited.
    """
    spec = spec if isinstance(spec, EditSpec) else EditSpec.parse(spec)
    if shards < 1 or not 0 <= shard < shards:
        raise UserError(f"--shard {shard} of --shards {shards}: expected 0 <= shard < shards. Correct the numbers.")
    if batch_size < 1:
        raise UserError(f"--batch-size {batch_size}: expected at least 1. Correct the number.")
    editor = editors.get_editor(spec.editor)
    params = editors.make_params(editor, spec.params)
    cases = read_cases(cases_path)
    chosen = cases[shard::shards]
    say = progress or (lambda line: print(line, file=sys.stderr, flush=True))
    weights = _weights(spec)
    folder = images_dir / edit_record.key(spec, weights)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    rows: dict[str, Row] = {}
    waiting: list[Inputs] = []
    finished = edit_record.read_journals(folder)
    for case in chosen:
        try:
            inputs = read_inputs(case, cases, cases_path.parent, editor.needs, spec.seed)
        except UserError as error:
            rows[case.case_id] = Row(case.case_id, "failed", reason=str(error))
            continue
        row = edit_record.taken_over(finished.get(case.case_id), case.case_id, inputs.digest, folder, record)
        if row:
            rows[case.case_id] = row
        else:
            waiting.append(inputs)
    label = f"{editor.name} [{spec.variant}] shard {shard + 1}/{shards}"
    if finished:
        say(f"{label}: {sum(row.status == 'ok' for row in rows.values())} of {len(chosen)} cases were finished before")

    place = torch.device(_device(device))
    if waiting:
        runner = _Runner(editor, params, spec, batch_size, place, model)
        if inversions and weights:
            runner.keep_inversions(inversions, weights)
        journal = folder / f"finished-{shard}-of-{shards}.jsonl"
        for row in runner.run(waiting, folder, record, journal, lambda line: say(f"{label}: {line}")):
            rows[row.case_id] = row
        batch_size = runner.batch_size
    ordered = [rows[case.case_id] for case in chosen]
    edit_record.write_record(
        record, ordered, edit_record.provenance(spec, params, weights, place, batch_size, shard, shards, cases_path)
    )
    failed = sum(row.status == "failed" for row in ordered)
    say(f"{label}: {len(ordered) - failed} edited, {failed} failed, {time.perf_counter() - started:.1f} s")
    return ordered


# Running --------------------------------------------------------------------------------------------------------------


def _weights(spec: EditSpec) -> str:
    if not spec.model:
        return ""
    from editfrontier.models import weights_sha256

    return weights_sha256(Path(spec.model))


@dataclass(frozen=True)
class Edited:
    """An edited case: uint8 [H, W, 3], its share of the batch's seconds and forwards, the seed of its generator, and
    what its editor measured, as JSON."""

    pixels: Pixels
    seconds: float
    forwards: int
    seed: int
    measures: str


class _Runner:
    """Edits batches with one loaded model; halves the batch when memory runs out, and isolates cases that break one."""

    def __init__(
        self, editor: editors.Editor, params: Any, spec: EditSpec, batch_size: int, device: torch.device, model: Any
    ) -> None:
        self.editor, self.params, self.spec, self.device = editor, params, spec, device
        self.batch_size = batch_size
        self.broken: Exception | None = None  # what broke the last batch, if it was no case's fault
        self.counter = sampling.ForwardCounter()
        self.model = model
        if device.type == "cuda":
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        if editor.model is not None and model is None:
            if not spec.model:
                raise UserError(f"editor '{editor.name}': needs a {editor.model} model. Set `model` in the config.")
            from editfrontier.models import load_pipeline

            self.model = load_pipeline(editor.model, Path(spec.model))
        if self.model is not None:
            self.counter = sampling.prepare_model(self.model, device, spec.dtype)
        self.cache: Callable[[], Any] = lambda: None  # makes the cache of inversions of a batch

    def keep_inversions(self, folder: Path, weights: str) -> None:
        """Let editors keep inversions in a folder, and find those that others made with these weights."""
        # By name, so that the code of an editor that inverts nothing does not change with that of inversion.
        package = "editfrontier.inversion"
        code, cache = code_hash(package), importlib.import_module(f"{package}.cache").InversionCache
        self.cache = lambda: cache(folder, weights, code, self.counter)

    def run(
        self, waiting: Sequence[Inputs], folder: Path, record: Path, journal: Path, say: Callable[[str], None]
    ) -> Iterable[Row]:
        usable, rows = [], []
        for one in waiting:
            try:
                self.check(one)
                usable.append(one)
            except UserError as error:
                rows.append(Row(one.case.case_id, "failed", reason=str(error)))
        usable.sort(key=lambda one: one.image.shape)
        started, done = time.perf_counter(), 0
        with ThreadPoolExecutor(_WRITERS) as writers, journal.open("a") as lines:
            for _, group in groupby(usable, key=lambda one: one.image.shape):
                left = list(group)
                while left:
                    batch, left = left[: self.batch_size], left[self.batch_size :]
                    rows += self._write(batch, self.edit(batch), writers, lines, folder, record)
                    if self.broken and not any(row.status == "ok" for row in rows):
                        # Not a bad case among good ones: the editor is broken, and its author needs the traceback.
                        raise self.broken
                    done += len(batch)
                    spent = time.perf_counter() - started
                    say(
                        f"{done} of {len(usable)} cases, {sum(row.status == 'failed' for row in rows)} failed, "
                        f"{spent / done:.2f} s a case, {spent / done * (len(usable) - done):.0f} s left"
                    )
        return rows

    @staticmethod
    def _write(
        batch: Sequence[Inputs],
        outcomes: Sequence[Row | Edited],
        writers: ThreadPoolExecutor,
        lines: IO[str],
        folder: Path,
        record: Path,
    ) -> list[Row]:
        """Write the images of a batch at once, then the journal, which therefore only names files that are complete."""

        def finish(one: Inputs, outcome: Row | Edited) -> Row:
            if isinstance(outcome, Row):
                return outcome
            image, sha256 = edit_record.write_image(folder / f"{one.case.case_id}.png", outcome.pixels, record)
            about = (outcome.seconds, outcome.forwards, outcome.seed, outcome.measures)
            return Row(one.case.case_id, "ok", "", image, sha256, *about)

        rows = list(writers.map(finish, batch, outcomes))
        for one, row in zip(batch, rows, strict=True):
            if row.status == "ok":
                lines.write(edit_record.journal_line(row, one.digest))
        lines.flush()
        return rows

    def check(self, one: Inputs) -> None:
        """Raise `UserError` if the model cannot take the case: too long a text, or sides that it cannot encode."""
        if self.model is None:
            return
        tokenizer = sampling.longest_tokenizer(self.model)
        for name in sorted(self.editor.needs & set(TEXTS)):
            sampling.check_prompt(tokenizer, getattr(one.case, name), f"case {one.case.case_id}, {name}")
        factor = sampling.size_factor(self.model)
        height, width = one.image.shape[:2]
        if height % factor or width % factor:
            raise UserError(
                f"case {one.case.case_id}: the image is {width}x{height}, expected sides divisible by {factor} "
                "for this model. Resize or crop it."
            )

    def edit(self, batch: Sequence[Inputs]) -> list[Row | Edited]:
        """Edit cases, those that break their batch apart from the others."""
        self.broken = None
        try:
            return self._edit(batch)
        except Exception as error:
            if _out_of_memory(error) and self.batch_size > 1:
                self.batch_size //= 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                outcomes: list[Row | Edited] = []
                rest = batch
                while rest:  # the parts may shrink on the way
                    size = self.batch_size
                    outcomes, rest = [*outcomes, *self.edit(rest[:size])], rest[size:]
                return outcomes
            if len(batch) > 1:
                middle = len(batch) // 2
                outcomes = [*self.edit(batch[:middle]), *self.edit(batch[middle:])]
                self.broken = None if isinstance(error, UserError) else error
                return outcomes
            case_id = batch[0].case.case_id
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return [Row(case_id, "failed", reason=f"case {case_id}: {reason}")]

    def _edit(self, batch: Sequence[Inputs]) -> list[Row | Edited]:
        filled = [*batch, *[batch[-1]] * (self.batch_size - len(batch))]
        before, started = self.counter.samples, time.perf_counter()
        with torch.no_grad():
            inputs = replace(make_batch(filled, self.spec, self.device), inversions=self.cache())
            result = self.editor.edit(self.model, inputs, self.params)
        inverting = inputs.inversions.seconds(len(filled)) if inputs.inversions is not None else []
        if inverting:
            result = _with_measure(result, "inversion_seconds", inverting)
        made, measures = self._measured(result, len(filled))
        expected = (len(filled), 3, *batch[0].image.shape[:2])
        if tuple(made.shape) != expected:
            raise UserError(f"editor '{self.editor.name}': returned {tuple(made.shape)}, expected {expected}. Mend it.")
        finite = made.flatten(1).isfinite().all(1).tolist()
        arrays = to_arrays(made)
        elapsed = time.perf_counter() - started
        shares = [elapsed / len(filled)] * len(filled)
        if inputs.inversions is not None and inverting:
            # What an inversion took when it was computed, now or in another job: so the numbers do not depend on the
            # order of the jobs, as the forwards do not.
            rest = (elapsed - inputs.inversions.computing) / len(filled)
            shares = [rest + spent for spent in inverting]
        forwards = (self.counter.samples - before) // len(filled)
        outcomes: list[Row | Edited] = []
        for one, array, good, measured, seconds in zip(batch, arrays, finite, measures, shares, strict=False):
            case_id = one.case.case_id
            seed = stable_seed("case", case_id, self.spec.variant, self.spec.seed)
            if good:
                outcomes.append(Edited(array, seconds, forwards, seed, measured))
            else:
                reason = f"case {case_id}: the output holds NaN or infinite values. Try dtype float32."
                outcomes.append(Row(case_id, "failed", reason, seconds=seconds, forwards=forwards, seed=seed))
        return outcomes

    def _measured(self, result: Any, count: int) -> tuple[Tensor, list[str]]:
        """Return the images, and what the editor measured of each case as JSON ("" for nothing)."""
        if not isinstance(result, editors.Measured):
            return result, [""] * count
        for name, values in result.measures.items():
            if len(values) != count or not all(math.isfinite(value) for value in values):
                raise UserError(
                    f"editor '{self.editor.name}': its measure '{name}' is {list(values)}, expected {count} finite "
                    "numbers, one a case. Mend it."
                )
        rows = [{name: float(values[i]) for name, values in result.measures.items()} for i in range(count)]
        return result.images, [json.dumps(row, sort_keys=True) if row else "" for row in rows]


def _with_measure(result: Any, name: str, values: Sequence[float]) -> editors.Measured:
    if isinstance(result, editors.Measured):
        return editors.Measured(result.images, {**result.measures, name: values})
    return editors.Measured(result, {name: values})


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine has no usable CUDA device. Use `--device cpu` or `auto`.")
    return name
