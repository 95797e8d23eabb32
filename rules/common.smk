# What the rules share: the checked config, and helpers that make parameters of what the library says about it.
import os
import sys
from pathlib import Path

from editfrontier.base.errors import UserError
from editfrontier.base.fingerprints import canonical, code_hash, content_hash, spec_hash
from editfrontier.base.yaml_files import read_yaml
from editfrontier.running import jobs
from editfrontier.running.handlers import WorkflowRun, demand_writing
from editfrontier.study.config.study import resolve_study

try:
    for configfile_name in workflow.configfiles:
        read_yaml(Path(configfile_name))  # Snakemake has read it, but keeps the last of two equal keys without a word
    STUDY = resolve_study(config, workflow.configfiles)
except UserError as error:
    sys.exit(f"error: {error}")
config.clear()
config.update(STUDY.config)
if workflow.is_main_process:
    demand_writing(Path(".snakemake"))  # what Snakemake knows of this folder, also in a dry run


envvars:
    "PATH",


# Jobs run the `python` of the environment that Snakemake itself runs in, activated or not.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
DEPLOYMENT = {str(method) for method in workflow.deployment_settings.deployment_method} & {"conda", "apptainer"}
shell.prefix(jobs.shell_prefix(DEPLOYMENT))
# Jobs never look for a newer model, nor wait for a hub that a compute node cannot reach; `weights` fetches all of them.
os.environ.update(HF_HUB_OFFLINE="1")

# The complete config, which jobs read what concerns them from. It is no input of theirs: a run writes it before its first
# job, and a job runs again when a parameter of it has changed, not whenever this file has.
CONFIG = f"{config['results']}/config.yaml"
CONFIG_HASH = spec_hash(STUDY.as_written())
# Tasks that no experiment of `run` and no analysis reads are left out.
READ_TASKS = {task for entry in STUDY.analyses.values() for task in entry["tasks"]}
TASKS = [task for task in config["tasks"] if STUDY.variants[task] or task in READ_TASKS]
EDITED_TASKS = [task for task in TASKS if STUDY.variants[task]]
# On processor cores no job asks for a GPU, so that as many run at a time as there are cores.
GPUS = int(config["compute"]["device"] != "cpu")
RUN = WorkflowRun(STUDY, warm_start=not GPUS and not DEPLOYMENT)


onstart:
    RUN.start(workflow)


onsuccess:
    RUN.end()


onerror:
    RUN.end(log)  # a list of files


def of(function, *names):
    """A function of the study and of wildcards as a function of a rule; a problem for the user ends with one line."""

    def value(wildcards):
        try:
            return function(STUDY, *(wildcards[name] for name in names))
        except UserError as error:
            sys.exit(f"error: {error}")

    return value


def remade(*outputs):
    """No input: an input function that has the job run again if one of its outputs is damaged (see `WorkflowRun.damaged`)."""

    def look(wildcards):
        files = [output.replace("<results>", config["results"]).format(**wildcards) for output in outputs]
        if workflow.is_main_process and RUN.damaged(files):
            workflow.dag.forcefiles.add(files[0])
        return []

    return look


def content_of(*files):
    """Hash of files, as a parameter function: a time may hide that one was changed."""
    # Snakemake compares no parameters that are made of a job's inputs, so that the files are named here again.
    return lambda wildcards: content_hash(*files)


def code_of(*modules):
    """Hash of the library code behind a rule, as a parameter function: computed once, when a job needs it."""
    return lambda wildcards: code_hash(*(f"editfrontier.{module}" for module in modules))
