"""The shard runner: edits its part of a task's cases in batches, resumes, and records what happened to every case."""

from __future__ import annotations

import importlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from editfrontier.base.errors import EditorError, UserError
from editfrontier.base.fingerprints import code_hash
from editfrontier.base.precision import choose_device
from editfrontier.base.seeding import stable_seed
from editfrontier.data.cases import read_cases
from editfrontier.data.chains import chains_of
from editfrontier.data.pixels import to_arrays
from editfrontier.diffusion import sampling
from editfrontier.editing import records
from editfrontier.editing.chains import Link, links_by_step, not_run
from editfrontier.editing.contract import EditorTrial, checked, rules_of
from editfrontier.editing.editor import Editor, Measured, get_editor, make_params
from editfrontier.editing.failures import Outcome, reasons
from editfrontier.editing.inputs import TEXTS, CaseInputs, make_batch, noise_name, read_inputs
from editfrontier.editing.latent_carry import carrying, read_carried, write_latents
from editfrontier.editing.origin import origins
from editfrontier.editing.outcomes import Edited, measured, no_memory, out_of_memory, release, with_measure
from editfrontier.editing.records import CaseRecord, EditSpec
from editfrontier.editing.size import edit_sides, scaled_batch, scaled_images
from editfrontier.models.loading import weights_sha256

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
) -> list[CaseRecord]:
    """Edit the chains whose place in the table is `shard` modulo `shards`, and write their record last.

    A case without a chain is a chain of one step. All first steps are edited before the second ones, and a later step
    gets the image that the one before it made. Finished images of an earlier, interrupted run are taken over if the
    spec, the inputs of the case and the file are unchanged, so that a longer chain goes on from where a shorter one
    ended. Every batch is filled up to `batch_size`, so that a case gives the same bytes in any batch and shard.

    Args:
        shard: in 0 .. shards - 1.
        spec: what to run, as `EditSpec` or its JSON values.
        record: parquet table to write, one `CaseRecord` for every case of the shard, with provenance in its metadata.
        images_dir: images go to a folder of it that is named by the hash of spec and weights, as <case_id>.png.
        batch_size: cases that are edited together; halved when memory runs out.
        device: "cpu", "cuda", "cuda:1" or "auto".
        model: a loaded diffusers pipeline to use instead of loading `spec.model` (benchmarks and tests).
        inversions: folder in which inversions are kept for other editors and runs; None keeps none.
        progress: receives one line for every batch; by default it goes to stderr.

    Returns:
        The rows of the record, in the order of the table. A case that cannot be edited is a failed row with its
        reason; later steps of its chain are rows that were not run.

    Raises:
        UserError: the table, the spec, the hyperparameters or the model are wrong, so that no case can be edited.
    """
    spec = spec if isinstance(spec, EditSpec) else EditSpec.parse(spec)
    if shards < 1 or not 0 <= shard < shards:
        raise UserError(f"--shard {shard} of --shards {shards}: expected 0 <= shard < shards. Correct the numbers.")
    if batch_size < 1:
        raise UserError(f"--batch-size {batch_size}: expected at least 1. Correct the number.")
    editor = get_editor(spec.editor)
    params = make_params(editor, spec.params)
    cases = read_cases(cases_path)
    chains = chains_of(cases)[shard::shards]
    say = progress or (lambda line: print(line, file=sys.stderr, flush=True))
    for line in editor.survey(cases, params) if editor.survey else ():
        say(f"{editor.name} [{spec.variant}]: {line}")
    known = origins(cases) if "origin" in editor.needs else {}
    weights = weights_sha256(spec.model) if spec.model else ""
    folder = images_dir / records.key(spec, weights)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    rows: dict[str, CaseRecord] = {}
    finished = records.read_journals(folder)
    label = f"{editor.name} [{spec.variant}] shard {shard + 1}/{shards}"
    place = torch.device(choose_device(device))
    runner: _Runner | None = None

    def read(link: Link) -> CaseInputs:
        carried = read_carried(rows[link.before.case_id], record, folder, spec.carry) if link.before else None
        return read_inputs(
            link.case, cases, cases_path.parent, editor.needs, spec.seed, carried, known.get(link.case.case_id)
        )

    columns = links_by_step(chains)
    for step, links in enumerate(columns, start=1):
        now, waiting = _sorted_out(links, rows, read, finished, folder, record)
        rows.update(now)
        where = f"{label}, step {step} of {len(columns)}" if len(columns) > 1 else label
        if finished:
            count = sum(row.status == "ok" for row in now.values())
            say(f"{where}: {count} of {len(links)} cases were finished before")
        if not waiting:
            continue
        if runner is None:
            trial = EditorTrial(any(row.status == "ok" for row in rows.values()), say)
            runner = _Runner(editor, params, spec, batch_size, place, model, trial)
            if inversions and weights:
                runner.keep_inversions(inversions, weights)
        journal = folder / f"finished-{shard}-of-{shards}.jsonl"
        for row in runner.run(waiting, folder, record, journal, where):
            rows[row.case_id] = row
        batch_size = runner.batch_size
    mine = {case.case_id for chain in chains for case in chain}
    ordered = [rows[case.case_id] for case in cases if case.case_id in mine]
    records.write_record(
        record, ordered, records.provenance(spec, params, weights, place, batch_size, shard, shards, cases_path)
    )
    for line in _outcome(ordered, time.perf_counter() - started):
        say(f"{label}: {line}")
    return ordered


def _outcome(rows: Sequence[CaseRecord], seconds: float) -> list[str]:
    """Return the reasons of failures, and a last line that counts."""
    counts = Counter(row.status for row in rows)
    skipped = f", {counts['not run']} not run" if counts["not run"] else ""
    last = f"{counts['ok']} edited, {counts['failed']} failed{skipped}, {seconds:.1f} s"
    return [*reasons(Outcome(row.case_id, row.status, row.reason) for row in rows), last]


def _sorted_out(
    links: Sequence[Link],
    rows: Mapping[str, CaseRecord],
    read: Callable[[Link], CaseInputs],
    finished: Mapping[str, Mapping[str, Any]],
    folder: Path,
    record: Path,
) -> tuple[dict[str, CaseRecord], list[CaseInputs]]:
    """Return the rows of steps that cannot be edited or are finished, and the inputs of the others."""
    settled: dict[str, CaseRecord] = {}
    waiting = []
    for link in links:
        case_id = link.case.case_id
        if link.before and rows[link.before.case_id].status != "ok":
            settled[case_id] = not_run(link, rows[link.before.case_id])
            continue
        try:
            inputs = read(link)
        except UserError as error:
            settled[case_id] = CaseRecord(case_id, "failed", reason=str(error))
            continue
        row = records.taken_over(finished.get(case_id), case_id, inputs.digest, folder, record)
        if row:
            settled[case_id] = row
        else:
            waiting.append(inputs)
    return settled, waiting


# Running --------------------------------------------------------------------------------------------------------------


class _Runner:
    """Edits batches with one loaded model; halves the batch when memory runs out, and isolates cases that break one."""

    def __init__(
        self,
        editor: Editor,
        params: Any,
        spec: EditSpec,
        batch_size: int,
        device: torch.device,
        model: Any,
        trial: EditorTrial,
    ) -> None:
        self.editor, self.params, self.spec, self.device = editor, params, spec, device
        self.batch_size, self.trial = batch_size, trial
        self.broken: dict[str, Exception] = {}  # by case, what broke it if that was not the case's own fault
        self.counter = sampling.ForwardCounter()
        self.model = model
        if device.type == "cuda":
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        if editor.model is not None and model is None:
            if not spec.model:
                raise UserError(f"editor '{editor.name}': needs a {editor.model} model. Set `model` in the config.")
            from editfrontier.models.loading import load_pipeline, mixed_precision

            self.model = load_pipeline(editor.model, spec.model, dtype=mixed_precision(editor.model, spec.dtype))
        if self.model is not None:
            self.counter = sampling.prepare_model(self.model, device, spec.dtype)
        self.cache: Callable[[], Any] = lambda: None  # makes the cache of inversions of a batch

    def keep_inversions(self, folder: Path, weights: str) -> None:
        """Let editors keep inversions in a folder, and find those that others made with these weights.

        Inversions are named by pixels, which do not tell carried latents apart: with these none are kept.
        """
        if self.spec.carry != "png":
            return
        # By name, so that the fingerprint of an editor that inverts nothing does not change with the code of inversion.
        package = "editfrontier.inversion"
        code, cache = code_hash(package), importlib.import_module(f"{package}.cache").InversionCache
        self.cache = lambda: cache(folder, weights, code, self.counter)

    def run(
        self, waiting: Sequence[CaseInputs], folder: Path, record: Path, journal: Path, where: str
    ) -> Iterable[CaseRecord]:
        """Edit cases and return their rows; progress lines start with `where`."""
        usable, rows = [], []
        for inputs in waiting:
            try:
                self.check(inputs)
                usable.append(inputs)
            except UserError as error:
                rows.append(CaseRecord(inputs.case.case_id, "failed", reason=str(error)))
        usable.sort(key=lambda inputs: inputs.image.shape)
        started, done = time.perf_counter(), 0
        with ThreadPoolExecutor(_WRITERS) as writers, records.open_journal(journal) as lines:
            for _, group in groupby(usable, key=lambda inputs: inputs.image.shape):
                left = list(group)
                while left:
                    batch, left = left[: self.batch_size], left[self.batch_size :]
                    outcomes = self.edit(batch)
                    for inputs in batch:
                        self.trial.note(self.broken.get(inputs.case.case_id))
                    rows += self._write(batch, outcomes, writers, lines, folder, record)
                    done += len(batch)
                    failed = sum(row.status == "failed" for row in rows)
                    pace = (time.perf_counter() - started) / done
                    self.trial.say(
                        f"{where}: {done} of {len(usable)} cases, {failed} failed, "
                        f"{pace:.2f} s a case, {pace * (len(usable) - done):.0f} s left"
                    )
        self.trial.end()
        return rows

    def _write(
        self,
        batch: Sequence[CaseInputs],
        outcomes: Sequence[CaseRecord | Edited],
        writers: ThreadPoolExecutor,
        lines: IO[str],
        folder: Path,
        record: Path,
    ) -> list[CaseRecord]:
        """Write the images of a batch at once, then the journal, which therefore only names files that are complete."""

        def finish(inputs: CaseInputs, outcome: CaseRecord | Edited) -> tuple[CaseRecord, str]:
            if isinstance(outcome, CaseRecord):
                return outcome, ""
            case_id, latents = inputs.case.case_id, ""
            if self.spec.carry == "latents":
                latents = write_latents(records.latents_path(folder, case_id), outcome.latents)
            image, sha256 = records.write_image(folder / f"{case_id}.png", outcome.pixels, record)
            about = (outcome.seconds, outcome.forwards, outcome.seed, outcome.measures)
            return CaseRecord(case_id, "ok", "", image, sha256, *about), latents

        written = list(writers.map(finish, batch, outcomes))
        for inputs, (row, latents) in zip(batch, written, strict=True):
            if row.status == "ok":
                lines.write(records.journal_line(row, inputs.digest, latents))
        lines.flush()
        return [row for row, _ in written]

    def check(self, inputs: CaseInputs) -> None:
        """Raise `UserError` if the model cannot take the case: too long a text, or sides that it cannot encode."""
        if self.model is None:
            return
        tokenizer = sampling.longest_tokenizer(self.model)
        for name in sorted(self.editor.needs & set(TEXTS)):
            sampling.check_prompt(tokenizer, getattr(inputs.case, name), f"case {inputs.case.case_id}, {name}")
        factor = sampling.size_factor(self.model)
        height, width = self.sides(inputs)
        if height % factor or width % factor:
            raise UserError(
                f"case {inputs.case.case_id}: the image is {width}x{height}, expected sides divisible by {factor} "
                "for this model. Resize or crop it."
            )

    def sides(self, inputs: CaseInputs) -> tuple[int, int]:
        """Return the height and width that a case is edited at."""
        height, width = inputs.image.shape[:2]
        return edit_sides((height, width), self.spec.size, sampling.size_factor(self.model) if self.model else 1)

    def edit(self, batch: Sequence[CaseInputs]) -> list[CaseRecord | Edited]:
        """Edit cases, those that break their batch apart from the others."""
        try:
            return self._edit(batch)
        except Exception as error:
            # Its frames hold the tensors of this batch, so that not even a part of it may fit.
            release(error)
            if out_of_memory(error) and self.batch_size > 1:
                self.batch_size //= 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                outcomes: list[CaseRecord | Edited] = []
                rest = batch
                while rest:  # the parts may shrink on the way
                    size = self.batch_size
                    outcomes, rest = [*outcomes, *self.edit(rest[:size])], rest[size:]
                return outcomes
            if len(batch) > 1:
                middle = len(batch) // 2
                return [*self.edit(batch[:middle]), *self.edit(batch[middle:])]
            case_id = batch[0].case.case_id
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            if out_of_memory(error):
                self.broken[case_id] = no_memory(self.editor.name, error)
            elif isinstance(error, EditorError) or not isinstance(error, UserError):
                self.broken[case_id] = error
            return [CaseRecord(case_id, "failed", reason=f"case {case_id}: {reason}")]

    def _edit(self, batch: Sequence[CaseInputs]) -> list[CaseRecord | Edited]:
        filled = [*batch, *[batch[-1]] * (self.batch_size - len(batch))]
        before, started = self.counter.samples, time.perf_counter()
        kept = self.model is not None and self.spec.carry == "latents"
        carry = (
            carrying(self.model.vae, [(inputs.image, inputs.latents) for inputs in filled]) if kept else nullcontext()
        )
        with torch.no_grad(), carry as carried:
            sides = self.sides(batch[0])
            tensors = scaled_batch(make_batch(filled, self.spec, self.device), sides)
            inversions = self.cache()
            with rules_of(self.editor, replace(tensors, inversions=inversions)) as readable:
                returned = self.editor.edit(self.model, readable, self.params)
        result = checked(returned, self.editor.name, (len(filled), 3, *sides))
        latents: list[Tensor | None] = [None] * len(filled)
        if carried is not None:
            latents = carried.latents_of(result.images if isinstance(result, Measured) else result)
            result = with_measure(result, "latents_kept", [float(kept is not None) for kept in latents])
        inverting = inversions.seconds(len(filled)) if inversions is not None else []
        if inverting:
            result = with_measure(result, "inversion_seconds", inverting)
        images, measures = measured(result, len(filled), self.editor.name)
        finite = images.flatten(1).isfinite().all(1).tolist()
        height, width = batch[0].image.shape[:2]
        arrays = to_arrays(scaled_images(images.float(), (height, width)))
        elapsed = time.perf_counter() - started
        shares = [elapsed / len(filled)] * len(filled)
        if inversions is not None and inverting:
            # What an inversion took when it was computed, now or in another job: so the numbers do not depend on the
            # order of the jobs, as the forwards do not.
            rest = (elapsed - inversions.computing) / len(filled)
            shares = [rest + spent for spent in inverting]
        forwards = (self.counter.samples - before) // len(filled)
        outcomes: list[CaseRecord | Edited] = []
        for inputs, array, good, about, seconds, carry_on in zip(
            batch, arrays, finite, measures, shares, latents, strict=False
        ):
            case_id = inputs.case.case_id
            seed = stable_seed("case", noise_name(inputs.case), self.spec.variant, self.spec.seed)
            if good:
                outcomes.append(Edited(array, seconds, forwards, seed, about, carry_on))
            else:
                reason = f"case {case_id}: the output holds NaN or infinite values. Try dtype float32."
                outcomes.append(CaseRecord(case_id, "failed", reason, seconds=seconds, forwards=forwards, seed=seed))
        return outcomes
