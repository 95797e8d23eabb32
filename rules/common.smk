# What the rules share: the checked config, and helpers that turn it into paths and parameters.
import json
import os
import shlex
import sys
from pathlib import Path

from editfrontier.running import warm
from editfrontier.base.files import write_bytes
from editfrontier.study.analysis import ANALYSES as KNOWN_ANALYSES
from editfrontier.study.config.study import evaluators_of, resolve_study
from editfrontier.study.config.models import ON_REQUEST
from editfrontier.study.figure import FIGURES
from editfrontier.data.dataset import RENDERED, get_dataset
from editfrontier.base.errors import KILLED, UserError
from editfrontier.base.integrity.contents import damage
from editfrontier.base.integrity.places import writing_problem
from editfrontier.models.registry import entry_of, reference_of, segmenters_of, weights_hash
from editfrontier.running.progress import Job, follow
from editfrontier.base.fingerprints import canonical, code_hash, content_hash, spec_argument
from editfrontier.base.yaml_files import read_yaml

try:
    for configfile_name in workflow.configfiles:
        read_yaml(Path(configfile_name))  # Snakemake has read it, but keeps the last of two equal keys without a word
    STUDY = resolve_study(config, workflow.configfiles)
except UserError as error:
    sys.exit(f"error: {error}")
config.clear()
config.update(STUDY.config)


def demand_writing(folder):
    """End with one line if a folder cannot be written: Snakemake would end with a trace of its own."""
    if workflow.is_main_process and (problem := writing_problem(Path(folder))):
        sys.exit(f"error: {problem}")


demand_writing(".snakemake")  # what Snakemake knows of this folder, also in a dry run


envvars:
    "PATH",


# Jobs run the `python` of the environment that Snakemake itself runs in, activated or not.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])

# With `--software-deployment-method`, each job runs in the environment or in the image that its rule names. The library is
# in neither, and Snakemake takes PYTHONPATH from conda jobs. `conda activate` puts an environment in the place of one that
# is active already, which may be behind the Python of Snakemake. "set -euo pipefail" is Snakemake's own prefix.
# A job's standard error goes to its log; descriptor 3 stays the terminal, for what a full disk would swallow.
TERMINAL = "exec 3>&2; export EDITFRONTIER_TERMINAL=3; "
DEPLOYMENT = {str(method) for method in workflow.deployment_settings.deployment_method} & {"conda", "apptainer"}
LIBRARY = ""
if DEPLOYMENT:
    CONDA_FIRST = 'PATH="$CONDA_PREFIX/bin:$PATH" ' if "conda" in DEPLOYMENT else ""
    LIBRARY = f"export {CONDA_FIRST}PYTHONPATH={shlex.quote(os.path.abspath('src'))} PYTHONNOUSERSITE=1; "
shell.prefix(f"set -euo pipefail; {TERMINAL}{LIBRARY}")

# Jobs never look for a newer model, nor wait for a hub that a compute node cannot reach; `weights` fetches all of them.
os.environ.update(HF_HUB_OFFLINE="1")

# Those that judge nothing but edits are left out of what is computed for sources.
SOURCE_EVALUATORS = {name: model for name, model in config["evaluators"].items() if name not in ON_REQUEST}
# The data of a task that no experiment of `run` and no analysis reads are asked of nobody.
READ_TASKS = {task for entry in STUDY.analyses.values() for task in entry["tasks"]}
TASKS = [task for task in config["tasks"] if STUDY.variants[task] or task in READ_TASKS]
SEGMENTERS = segmenters_of(config)
EDITED_TASKS = [task for task in TASKS if STUDY.variants[task]]
# What the page of results is drawn with, apart from the library.
PAGE_FILES = sorted(str(file) for file in Path("reports").rglob("*") if file.suffix in {".j2", ".css", ".js", ".woff2"})
USER_STUDY_FILES = [file for file in PAGE_FILES if "userstudy" in file or file.endswith(".woff2")]
PAGE_FILES = [file for file in PAGE_FILES if "userstudy" not in file]
CAPTIONS = sorted(str(file) for file in Path("reports/captions").glob("*.rst"))
# On processor cores no job asks for a GPU, so that as many run at a time as there are cores.
GPUS = int(config["compute"]["device"] != "cpu")


def planned(job):
    """A job of the run as the estimate of its time takes it."""
    found = {name: job.wildcards[name] for name in ("variant", "task", "analysis") if name in job.wildcards.keys()}
    both = [f"{found['task']}/{found['variant']}"] if "variant" in found else []
    return Job(job.rule.name, (*both, *found.values()), Path(str(job.benchmark)) if job.benchmark else None)


WARM = []  # the server of the warm start, once it runs; it ends with this process in any case


EDITED = {}  # variants of each task that this run edits


def tell_failures():
    """Say at the end of a run what could not be edited, and why: such cases are rows, which stop no job."""
    from editfrontier.editing.failures import failures

    for line in failures(Path(config["results"]), EDITED):
        print(line, file=sys.stderr, flush=True)


def stop_warm():
    while WARM:
        warm.stop(WARM.pop())


onstart:
    demand_writing(config["results"])
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_norun]
    for job in jobs:
        if job.rule.name == "edit" and workflow.is_main_process:
            EDITED.setdefault(job.wildcards["task"], {})[job.wildcards["variant"]] = None
    follow(
        [planned(job) for job in jobs],
        lambda: [workflow.dag.finished(job) for job in jobs],
        workflow.nodes or workflow.cores,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    for job in jobs:
        job.params  # names the files of long specs
    for path, text in SPEC_FILES.items():
        write_bytes(path, text.encode())
    # Importing torch and the rest takes longer than many a job: a server that has done so forks a process for each job.
    # EDITFRONTIER_WARM=0 in the environment switches it off. What it cannot do, jobs do as ever, on their own. It needs
    # Linux, which can fork a process that has loaded these libraries, and jobs in the environment of Snakemake.
    heavy = sum(job.rule.name in warm.COMMANDS for job in jobs)
    local = workflow.is_main_process and workflow.local_exec and not workflow.touch and not GPUS and not DEPLOYMENT
    if local and heavy >= 8 and sys.platform == "linux" and os.environ.get(warm.VARIABLE) != "0":
        server, socket = warm.start(config["compute"]["threads"], Path(config["results"]) / "logs" / "warm.log")
        WARM.append(server)
        os.environ[warm.VARIABLE] = str(socket)


def tell_killed(logs):
    """Say what usually lies behind a job that was killed: the system does so when memory runs out."""
    files = [Path(log) for log in logs]
    text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    if "exit status 137" in text or "Signals.SIGKILL" in text:
        print(KILLED, file=sys.stderr, flush=True)


onsuccess:
    stop_warm()
    tell_failures()


onerror:
    stop_warm()
    tell_killed(log)  # a list of files
    tell_failures()


SPECS = Path(".snakemake/editfrontier")  # long specs, which go to their jobs as files
SPEC_FILES = {}


def spec_of(values):
    """A spec as a parameter: its JSON, or the file that it is written to when the run starts."""
    return spec_argument(canonical(values), SPECS, SPEC_FILES)


def complete_config(wildcards):
    return spec_of(STUDY.as_written())


PAGE = Path(config["results"]) / "index.html"
LISTED = {}  # folders of results that were looked into
DAMAGED = {}  # outputs that are there, but not whole


def remade(*outputs):
    """No input: an input function that has the job run again if an output of it, or what belongs to one, is damaged.

    Snakemake compares names, times, code and parameters, and would take a file that was cut short for a whole one. It
    also misses no file that only finished things were made of: with the page there, a missing one counts as damaged.
    """

    def look(wildcards):
        for output in outputs if workflow.is_main_process else ():
            file = output.replace("<results>", config["results"]).format(**wildcards)
            problem = damage(Path(file), LISTED)
            missing = PAGE.exists() and not Path(file).exists()
            if problem and file not in DAMAGED:
                DAMAGED[file] = problem
                print(f"{file}: {problem}. It is made again.", file=sys.stderr)
            if problem or missing:
                workflow.dag.forcefiles.add(file)
        return []

    return look


def content_of(*files):
    """Hash of files, as a parameter function: a time may hide that one was changed."""
    # Snakemake compares no parameters that are made of a job's inputs, so that the files are named here again.
    return lambda wildcards: content_hash(*files)


def code_of(*modules):
    """Hash of the library code behind a rule, as a parameter function: computed once, when a job needs it."""
    return lambda wildcards: code_hash(*(f"editfrontier.{module}" for module in modules))


EXECUTION = ("shards", "batch_size")  # keys of a task that do not change its cases


def task_spec(wildcards):
    task = {key: value for key, value in config["tasks"][wildcards.task].items() if key not in EXECUTION}
    if wildcards.task in SEGMENTERS:
        # A name of the registry may come to stand for another revision, and then the masks are made anew.
        task["options"] = {**task["options"], "sam": SEGMENTERS[wildcards.task]}
    return spec_of({**task, "task": wildcards.task, "seed": config["seed"]})


def is_rendered(wildcards):
    """Whether the cases of a task are of the micro world; others are read from files, which may have to be unpacked."""
    return config["tasks"][wildcards.task]["dataset"] in RENDERED


def code_of_dataset(wildcards):
    if is_rendered(wildcards):
        return code_hash("editfrontier.microworld.dataset")
    dataset = config["tasks"][wildcards.task]["dataset"]
    return code_hash("editfrontier.data.reading.build", get_dataset(dataset).build.__module__)


def reference_spec(wildcards):
    found = {**config["reference"], "seed": config["seed"]}
    if "statistics" in found and Path(found["statistics"]).is_file():
        # Not an input: a run without the file shall plan, and the job say what is missing.
        found["content"] = content_hash(found["statistics"])
    return spec_of(found)


def code_of_reference(wildcards):
    if "statistics" in config["reference"]:
        return code_hash("editfrontier.scoring.metrics.moments")
    if "dataset" not in config["reference"]:
        return code_hash("editfrontier.microworld.dataset")
    images = get_dataset(config["reference"]["dataset"]).images
    return code_hash("editfrontier.data.reading.reference", images.__module__)


def edit_spec(wildcards):
    """Everything that determines the images of a variant apart from its cases: hyperparameters, seed, code, weights."""
    found = STUDY.edit_spec(wildcards.task, wildcards.variant)
    if found["model"]:
        found["code"] += f"+{weights_of(found['model'])}"
    return spec_of(found)


def weights_of(model):
    """Hash of a model's weights. They are no input files, so that no run ever starts to train what is missing."""
    try:
        return weights_hash(model)
    except UserError as error:
        sys.exit(f"error: {error}")


def references_of(evaluators):
    """Evaluators as a parameter of a job; `evaluators`: their entries by kind."""
    return spec_of({name: reference_of(model) for name, model in evaluators.items()})


def weights_of_all(evaluators):
    return canonical({name: weights_of(reference_of(model)) for name, model in evaluators.items()})


def shard_count(wildcards):
    return config["tasks"][wildcards.task]["shards"]


def batch_size_of(wildcards):
    return config["tasks"][wildcards.task].get("batch_size", config["compute"]["batch_size"])


def records_of(wildcards):
    """The records of all shards of a variant."""
    return collect(
        "<results>/edits/{task}/{variant}/shard-{shard}.parquet",
        task=wildcards.task,
        variant=wildcards.variant,
        shard=range(shard_count(wildcards)),
    )


def of_variants(pattern):
    """Paths of all variants of a task, as an input function."""
    return lambda wildcards: collect(pattern, task=wildcards.task, variant=STUDY.variants[wildcards.task])


def settings_of(wildcards):
    """How a task is summarised: also its controls, the variants of each experiment, the metrics that its tables show."""
    common = {key: value for key, value in config["statistics"].items() if key != "tasks"}
    own = config["statistics"].get("tasks", {}).get(wildcards.task, {})
    experiments = STUDY.experiments(wildcards.task)
    found = {"controls": STUDY.controls(wildcards.task), "metrics": STUDY.shown_metrics(wildcards.task)}
    return spec_of({**found, "experiments": experiments, **common, **own})


def table_entry(wildcards):
    return spec_of(STUDY.tables[wildcards.table])


def summary_of(table):
    """The statistics that a table shows: of its task's cases, or of their parts."""
    return f"<results>/statistics/{table['task']}{'.subsets' if 'by' in table else ''}.parquet"


def statistics_of_table(wildcards):
    return summary_of(STUDY.tables[wildcards.table])


def splits_of(wildcards):
    """What the tables of a task are split by, as JSON."""
    found = {table["by"] for table in STUDY.tables.values() if table["task"] == wildcards.task and "by" in table}
    return json.dumps(sorted(found))


# Metrics are validated on rendered portraits, which networks that are trained on photographs do not know.
VALIDATION = [f"<results>/validation.{form}" for form in ("csv", "points.parquet")] if "validation" in config else []
# Of the statistics of a task: all its cases, parts of them, paired differences, Pareto membership.
PARTS = ["", ".subsets", ".differences", ".frontier"]


def entry_of_figure(wildcards):
    return spec_of(STUDY.shown_by(wildcards.figure))


def data_of_figure(wildcards):
    return [f"<results>/{file}" for file in FIGURES.get(wildcards.figure).inputs(STUDY.shown_by(wildcards.figure))]


def code_of_figure(wildcards):
    return code_hash("editfrontier.study.figure", FIGURES.module_of(wildcards.figure))


def caption_of_figure(wildcards):
    figure = FIGURES.get(wildcards.figure)
    return f"**{figure.title}.** {figure.caption}"


ANALYSES = list(STUDY.analyses)


def analysis_entry(wildcards):
    return spec_of(STUDY.analyses[wildcards.analysis])


def content_of_analysis(wildcards):
    return content_hash(*STUDY.analyses[wildcards.analysis]["files"])


def inputs_of_analysis(wildcards):
    """Scores of the variants of the experiments that an analysis names, the cases of its tasks, its files."""
    entry = STUDY.analyses[wildcards.analysis]
    found = {"cases": [f"<results>/data/{task}/cases.parquet" for task in entry["tasks"]], "files": entry["files"]}
    for table in entry["experiments"].values():
        found["cases"].append(f"<results>/data/{table['task']}/cases.parquet")
        found.setdefault("sources", []).append(f"<results>/scores/{table['task']}/sources.npz")
        for row in table["rows"]:
            for file in ("<results>/scores/{}/{}.parquet", "<results>/features/{}/{}.npz"):
                found.setdefault("scores", []).append(file.format(table["task"], row["variant"]))
    if entry["analysis"] == "user_study":
        found["design"] = ["<results>/user_study/design.json"]
    return {name: list(dict.fromkeys(files)) for name, files in found.items()}


def analysis_weights(wildcards):
    entry = STUDY.analyses[wildcards.analysis]
    return canonical({name: weights_of(path) for name, path in {**entry["evaluators"], **entry["models"]}.items()})


def memory_of_analysis(wildcards, attempt):
    """MB of host memory: one model at a time passes through it, in float32, twice as large as it is published."""
    known = [entry_of(path) for path in STUDY.analyses[wildcards.analysis]["models"].values()]
    return round(4000 + 2000 * max((entry.download_gb for entry in known if entry), default=0)) * attempt


def code_of_analysis(wildcards):
    return code_hash(
        "editfrontier.study.inputs", KNOWN_ANALYSES.module_of(STUDY.analyses[wildcards.analysis]["analysis"])
    )
