"""The command line: one command a stage, each a thin wrapper of the library function that does the work.

The rules of the workflow call these commands, so that every job can be printed (`snakemake -p`) and repeated by hand.
Libraries are imported inside the commands, after their options are checked: torch and diffusers take seconds to load.
"""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from editfrontier.base.errors import UserError, say_last
from editfrontier.base.files import write_bytes
from editfrontier.base.fingerprints import canonical, read_spec
from editfrontier.base.integrity.contents import SUFFIX as CONTENTS
from editfrontier.base.integrity.places import remedy
from editfrontier.base.precision import choose_device
from editfrontier.commands import cluster as commands_cluster
from editfrontier.commands import inputs as commands_inputs
from editfrontier.commands import results as commands_results
from editfrontier.commands.cluster import JOBS, MICRO, Configs, config_files
from editfrontier.data.dataset import RENDERED
from editfrontier.editing.failures import failures
from editfrontier.statistics.task import summarise_task
from editfrontier.study.config.study import load_study
from editfrontier.study.judging.ledger import write_ledger
from editfrontier.study.results.tables import write_table

app = typer.Typer(
    help="Experiments on the controllability-fidelity frontier of diffusion-based image editing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(commands_inputs.app)  # datasets, weights, variants
app.add_typer(commands_cluster.app)  # plan, doctor, probe
app.add_typer(commands_results.app)  # verify-results

Cases = Annotated[Path, typer.Option(help="Case table (cases.parquet).")]
Spec = Annotated[str, typer.Option(help="What determines the result, as JSON, or `@file` of it.")]
Evaluators = Annotated[str, typer.Option(help="Folders of the evaluators by kind, as JSON.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N, mps, or auto.")]
Out = Annotated[Path, typer.Option(help="File to write.")]


def main() -> None:
    """Run the command line; a problem that the user can mend becomes one line on stderr and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "matplotlib", "PIL", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        app(prog_name="editfrontier")
    except UserError as error:
        say_last(f"error: {error}")
        raise SystemExit(2) from None
    except OSError as error:
        place = error.filename or "a file"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"{place}: the disk is full. Free some space and run again."
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            problem = f"{place}: {error.strerror}. {remedy(Path(place))}"
        elif _typed(str(place)):
            is_file = error.errno in (errno.EEXIST, errno.ENOTDIR)
            problem = f"{place}: {'is no folder' if is_file else error.strerror}. Correct the path."
        else:
            say_last(f"error: {type(error).__name__}: {error}")
            raise
        say_last(f"error: {problem}")
        raise SystemExit(2) from None
    except Exception as error:
        say_last(f"error: {type(error).__name__}: {error}")
        raise


def _typed(place: str) -> bool:
    """Whether a path is one that was typed, or lies below or above one; a missing file of the library is no such."""
    words = [word for word in sys.argv[1:] if word and word[0] != "-"]
    return any(f"{place}/".startswith(f"{word}/") or word.startswith(f"{place}/") for word in words)


def _field(content: dict[str, Any], key: str, option: str) -> Any:
    if key not in content:
        raise UserError(f"{option}: the key '{key}' is missing. Add it.")
    return content[key]


def _count(content: dict[str, Any], key: str, option: str) -> int:
    value = _field(content, key, option)
    if type(value) is not int:
        raise UserError(f"{option}: the key '{key}' is {value!r}, expected a whole number. Correct it.")
    return value


@app.command(rich_help_panel=JOBS)
def data(
    spec: Spec, out: Out, language: Annotated[Path | None, typer.Option(help="Captions and instructions.")] = None
) -> None:
    """Make the cases of a task: a case table and the images beside it."""
    values = read_spec(spec, "--spec")
    task, dataset = (_field(values, key, "--spec") for key in ("task", "dataset"))
    count, seed = _count(values, "cases", "--spec"), _count(values, "seed", "--spec")
    options = {"repeats": values.get("repeats", 1), **values.get("options", {})}
    if dataset in RENDERED:
        from editfrontier.microworld.dataset import build_task
    else:
        from editfrontier.data.reading.build import build_task
    cases = build_task(task, count, seed, out.parent, dataset=dataset, language=language, **options)
    print(f"{len(cases)} cases in {out}")


@app.command(rich_help_panel=JOBS)
def reference(spec: Spec, out: Out) -> None:
    """Make the reference images, or check the published statistics, that FID and KID compare with."""
    values = read_spec(spec, "--spec")
    if "statistics" in values:
        from editfrontier.scoring.metrics.moments import copy_moments

        count = copy_moments(Path(values["statistics"]), _field(values, "preprocessing", "--spec"), out)
        print(f"statistics of {count} features in {out}")
        return
    count, seed = _count(values, "images", "--spec"), _count(values, "seed", "--spec")
    if "dataset" in values:
        from editfrontier.data.reading.reference import build_reference as copy_reference

        copy_reference(values["dataset"], count, seed, out, **values.get("options", {}))
    else:
        from editfrontier.microworld.dataset import build_reference

        build_reference(count, seed, _field(values, "population", "--spec"), out)
    print(f"{count} images in {out}")


@app.command(rich_help_panel=JOBS)
def edit(
    cases: Cases,
    spec: Spec,
    record: Annotated[Path, typer.Option(help="Record to write: one row a case.")],
    images: Annotated[Path, typer.Option(help="Folder of the edited images; finished ones are taken over.")],
    shard: Annotated[int, typer.Option(min=0, help="Which part of the cases.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="Into how many parts the cases are split.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Cases edited at once; rounds differently.")] = 16,
    device: Device = "cpu",
    inversions: Annotated[Path | None, typer.Option(help="Folder of inversions that edits share; it may grow.")] = None,
    may_fail: Annotated[
        bool, typer.Option("--may-fail", help="End with status 0 where each case failed, as jobs of the workflow do.")
    ] = False,
) -> None:
    """Edit one shard of a task with one variant; status 1 if no case could be edited."""
    values = read_spec(spec, "--spec")
    place = choose_device(device)
    from editfrontier.editing.shard import run_shard

    print(f"spec {canonical(values)}\nseed {values.get('seed')}, device {place}, shard {shard} of {shards}", flush=True)
    rows = run_shard(cases, shard, shards, values, record, images, batch_size, place, inversions=inversions)
    for other in record.parent.glob("shard-*.parquet"):
        # With fewer shards than before, the records of the others would be counted twice.
        if other != record and int(other.stem.removeprefix("shard-")) >= shards:
            other.unlink()
            other.with_suffix(CONTENTS).unlink(missing_ok=True)
    if rows and not may_fail and all(row.status != "ok" for row in rows):
        print(f"error: no case was edited. The reasons stand above, and case by case in {record}.", file=sys.stderr)
        raise typer.Exit(1)


@app.command(rich_help_panel=JOBS)
def sources(
    cases: Cases,
    evaluators: Evaluators,
    out: Out,
    reference: Annotated[
        Path | None, typer.Option(help="Reference images; without them there is no FID and no KID.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Compute what depends on the sources of a task only, once for all variants."""
    folders = read_spec(evaluators, "--evaluators")
    from editfrontier.scoring.sources import prepare_sources

    prepare_sources(cases, reference, folders, out, device=choose_device(device))


@app.command(rich_help_panel=JOBS)
def score(
    records: Annotated[list[Path], typer.Argument(help="Records of all shards of one variant.")],
    cases: Cases,
    sources: Annotated[Path, typer.Option(help="What `sources` wrote.")],
    evaluators: Evaluators,
    out: Out,
    features: Annotated[Path, typer.Option(help="File of the set features to write.")],
    device: Device = "cpu",
) -> None:
    """Compute all per-image metrics of one variant, and the features of its images."""
    folders = read_spec(evaluators, "--evaluators")
    from editfrontier.scoring.score import score_variant

    score_variant(cases, records, sources, folders, out, features, device=choose_device(device))


@app.command(rich_help_panel=JOBS)
def statistics(
    files: Annotated[
        list[Path], typer.Argument(help="Scores (.parquet) and set features (.npz) of every variant of a task.")
    ],
    sources: Annotated[Path, typer.Option(help="What `sources` wrote.")],
    out: Out,
    differences: Annotated[Path, typer.Option(help="File of paired differences to write.")],
    frontier: Annotated[Path, typer.Option(help="File of Pareto membership to write.")],
    settings: Annotated[str, typer.Option(help="The `statistics` section of the config, as JSON.")] = "{}",
    subsets: Annotated[Path | None, typer.Option(help="File of the statistics of parts of the cases to write.")] = None,
    cases: Annotated[Path | None, typer.Option(help="Case table, which says what part a case belongs to.")] = None,
    splits: Annotated[str, typer.Option(help="What tells the parts apart, as JSON: kind, size, attribute.")] = "[]",
) -> None:
    """Summarise a task: every metric of every variant with its interval."""
    names = read_spec(f'{{"splits": {splits}}}', "--splits")["splits"]
    scores, features = ([file for file in files if file.suffix == suffix] for suffix in (".parquet", ".npz"))
    if other := [file for file in files if file.suffix not in (".parquet", ".npz")]:
        raise UserError(f"{other[0]}: expected scores (.parquet) or set features (.npz). Leave it out.")
    chosen = read_spec(settings, "--settings")
    summarise_task(scores, features, sources, chosen, out, differences, frontier, subsets, cases, names)


@app.command(rich_help_panel=JOBS)
def validate(
    spec: Spec,
    evaluators: Evaluators,
    out: Out,
    points: Annotated[Path, typer.Option(help="File of the points behind the checks to write.")],
    device: Device = "cpu",
) -> None:
    """Validate the metrics against the renderer's truth."""
    values, folders = read_spec(spec, "--spec"), read_spec(evaluators, "--evaluators")
    count, seed = _count(values, "portraits", "--spec"), _count(values, "seed", "--spec")
    from editfrontier.microworld.validation import validate as run

    run(folders, out, points, n=count, seed=seed, device=choose_device(device))


@app.command(rich_help_panel=JOBS)
def tables(
    table: Annotated[str, typer.Option(help="The table with its rows, as JSON.")],
    statistics: Annotated[Path, typer.Option(help="Summary of the table's task.")],
    reported: Annotated[Path, typer.Option(help="CSV of the paper's values.")],
    csv: Annotated[Path, typer.Option(help="CSV file to write.")],
    markdown: Annotated[Path, typer.Option(help="Markdown file to write.")],
    latex: Annotated[Path, typer.Option(help="LaTeX file to write.")],
) -> None:
    """Write a table as CSV, Markdown and LaTeX."""
    write_table(read_spec(table, "--table"), statistics, reported, csv, markdown, latex)


@app.command(rich_help_panel=JOBS)
def figures(
    figure: Annotated[str, typer.Option(help="Name of the figure.")],
    root: Annotated[Path, typer.Option(help="Results folder of the study.")],
    out: Annotated[Path, typer.Option(help="Figure to write; .pdf, .svg and .png are written whatever its suffix.")],
    reported: Annotated[Path, typer.Option(help="CSV of the paper's values.")],
    table: Annotated[str, typer.Option(help="The table that it shows, as JSON.")] = "{}",
) -> None:
    """Draw a figure as PDF, SVG and PNG."""
    from editfrontier.study.figure import draw_figure

    draw_figure(figure, read_spec(table, "--table"), root, reported, out.with_suffix(""))


@app.command(rich_help_panel=JOBS)
def user_study(
    root: Annotated[Path, typer.Option(help="Results folder of the study.")],
    table: Annotated[str, typer.Option(help="The experiment whose edits people judge, as JSON.")],
    entry: Annotated[str, typer.Option(help="The `user_study` section of the config, as JSON.")],
    out: Out,
    design: Annotated[Path, typer.Option(help="File of the design to write.")],
) -> None:
    """Make the page and the design of the user study; those that people have answered are kept."""
    rows, settings = read_spec(table, "--table"), read_spec(entry, "--entry")
    _field(settings, "experiment", "--entry")
    from editfrontier.study.userstudy.page import write_study

    made = write_study(root, rows, settings, out, design)
    print(f"design {made.hash}: {len(made.trials)} participants, {len(made.trials[0])} trials each, in {out}")


@app.command(rich_help_panel=JOBS)
def analyse(
    name: Annotated[str, typer.Option(help="Key of the analysis in the config.")],
    spec: Spec,
    root: Annotated[Path, typer.Option(help="Results folder of the study.")],
    out: Out,
    device: Device = "cpu",
) -> None:
    """Make the findings of one analysis (.parquet and .csv) and its figure (.pdf, .svg and .png) beside them."""
    entry = read_spec(spec, "--spec")
    for key in ("analysis", "params", "experiments", "tasks", "models", "evaluators", "statistics", "files", "seed"):
        _field(entry, key, "--spec")
    from editfrontier.study.run import run_analysis

    run_analysis(name, entry, root, out, choose_device(device))


@app.command(rich_help_panel=JOBS)
def claims(
    root: Annotated[Path, typer.Option(help="Results folder of the study.")],
    claims: Annotated[Path, typer.Option(help="List of the claims.")],
    reported: Annotated[Path, typer.Option(help="CSV of the paper's values.")],
    out: Out,
    config: Configs = MICRO,
) -> None:
    """Judge the claims of the paper by what a study measured."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of results. Make them with `snakemake`, or correct --root.")
    counts = write_ledger(claims, root, load_study(config), reported, out)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


@app.command(rich_help_panel=JOBS)
def config(config: Annotated[str, typer.Option(help="The complete config, as JSON.")], out: Out) -> None:
    """Write the complete config of a run as YAML."""
    text = yaml.safe_dump(
        read_spec(config, "--config"), sort_keys=False, allow_unicode=True, width=120, explicit_end=True
    )
    write_bytes(out, text.encode())


@app.command(rich_help_panel=JOBS)
def report(
    root: Annotated[Path, typer.Option(help="Results folder of the study.")],
    out: Out,
    reported: Annotated[Path, typer.Option(help="CSV of the paper's values.")],
    config: Configs = MICRO,
) -> None:
    """Write the self-contained page of a study."""
    from editfrontier.study.report import build_report

    study = load_study(config)
    build_report(root, study.config, study.tables, reported, out, root / "benchmarks")


@app.command()
def where(config: Configs = MICRO) -> None:
    """Say where the report of a config is, and which edits failed for which reasons."""
    with config_files(config) as files:
        study = load_study(files)
    results = Path(study.config["results"])
    if failed := failures(results, study.variants):
        print("\n".join(failed))
    page = results / "index.html"
    if not page.is_file():
        names = " ".join(map(str, config))
        make = "make reproduce" if config == MICRO else f"snakemake --configfile {names} --cores 2"
        raise UserError(f"{page}: there is no report yet. Make it with `{make}`.")
    print(f"The report is in {page} (open it in a browser: {page.resolve().as_uri()})")
