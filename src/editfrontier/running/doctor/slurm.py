"""Checks of a SLURM cluster against a profile: its partitions, a probe job on a node, jobs that a killed run left."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from editfrontier.base.errors import UserError, did_you_mean
from editfrontier.base.yaml_files import read_yaml
from editfrontier.running.doctor import Check
from editfrontier.running.doctor.gres import check_gres, refusal

PLUGIN = "snakemake-executor-plugin-slurm"
PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_DEFAULT_INTERVAL = 40  # seconds, the plugin's first look at a job


@dataclass(frozen=True)
class Profile:
    """What a profile says of a cluster.

    Attributes:
        executor: of its jobs, "slurm" for a cluster, "" for this machine.
        partitions: name -> limits, as the plugin reads them.
        gres: what jobs ask for that need a GPU, "" if none does.
        prefix: of the names of its jobs.
        interval: seconds before the first look at a job.
        account: that jobs are charged to, "" for the user's own.
        precommand: what runs before each job.
    """

    file: Path
    executor: str
    partitions: Mapping[str, Mapping[str, Any]]
    gres: str
    prefix: str
    interval: int
    account: str
    precommand: str


def read_profile(folder: Path) -> Profile:
    """Read a profile, its folder or its file; raise `UserError` if there is none or its partitions are no mapping."""
    file = folder if folder.is_file() else folder / "profile.yaml"
    if not file.is_file():
        known = [str(found.parent) for found in Path("profiles").glob("*/profile.yaml")]
        raise UserError(f"{file}: no such profile.{did_you_mean(str(folder), known)} Correct --profile.")
    content = read_yaml(file)
    partitions = content.get("partitions") or {}
    if not isinstance(partitions, dict) or not all(isinstance(limits, dict) for limits in partitions.values()):
        raise UserError(f"{file}: key 'partitions': expected a mapping of names to limits. Correct the profile.")
    asked = {str(rule["gres"]) for rule in (content.get("set-resources") or {}).values() if rule.get("gres")}
    if len(asked) > 1:
        raise UserError(f"{file}: rules ask for {' and '.join(sorted(asked))}, expected one gres for all. Make it one.")
    interval = content.get("slurm-init-seconds-before-status-checks", _DEFAULT_INTERVAL)
    counts = {f"partitions.{name}.max_gpu": limits.get("max_gpu", 0) for name, limits in partitions.items()}
    for key, value in {**counts, "slurm-init-seconds-before-status-checks": interval}.items():
        if type(value) is not int:
            raise UserError(f"{file}: key '{key}': {value!r}, expected a whole number. Correct the profile.")
    return Profile(
        file,
        str(content.get("executor", "")),
        partitions,
        "".join(asked),
        str(content.get("slurm-jobname-prefix", "")),
        interval,
        str((content.get("default-resources") or {}).get("slurm_account", "")),
        str(content.get("precommand", "")),
    )


def _output(*command: str) -> str:
    """Return what a command of SLURM prints, "" if it fails or takes over half a minute."""
    try:
        return subprocess.run(
            command, encoding="utf-8", errors="replace", capture_output=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def check_cluster(profile: Profile) -> Iterator[Check]:
    """Check plugin, commands, scheduler and partitions, where that is possible."""
    try:
        yield Check("plugin", "ok", f"{PLUGIN} {version(PLUGIN)}")
    except PackageNotFoundError:
        yield Check("plugin", "wrong", f"{PLUGIN} is not installed. Run `make setup`.")
    if profile.gres:
        yield check_gres(profile.gres, profile.partitions, profile.file)
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        yield Check("SLURM", "wrong", f"no {', '.join(absent)} on PATH. Start it on a login node of the cluster.")
        return
    config = _output("scontrol", "show", "config")
    if not config:
        problem = "the scheduler does not answer (`scontrol show config`)"
        yield Check("SLURM", "wrong", f"{problem}. Wait, or ask its admins.")
        return
    release = _value(config, "SLURM_VERSION") or "version unknown"
    yield Check("SLURM", "ok", f"{release}, {_value(config, 'ClusterName')}")
    yield check_memory_of_jobs(config, profile)
    if not profile.partitions:
        yield Check("partitions", "note", f"{profile.file} names none; jobs go to the cluster's default partition")
    for name, limits in profile.partitions.items():
        yield check_partition(name, limits, profile)


def _value(text: str, key: str) -> str:
    found = re.search(rf"(?:^|\s){key}\s*=\s*(\S+)", text)
    return found[1] if found else ""


def check_memory_of_jobs(config: str, profile: Profile) -> Check:
    """Check that the scheduler remembers finished jobs long enough for squeue to be asked about them."""
    text, needed = _value(config, "MinJobAge"), 3 * profile.interval
    age = int(text) if text.isdigit() else 0
    if age >= needed:
        return Check("MinJobAge", "ok", f"{age} s: finished jobs can be asked for by squeue")
    found = f"{age} s, but squeue needs {needed} s to tell which jobs are finished"
    if _value(config, "AccountingStorageType").endswith("slurmdbd"):
        return Check("MinJobAge", "note", f"{found}; the plugin asks sacct instead")
    return Check("MinJobAge", "wrong", f"{found}. Lower slurm-init-seconds-before-status-checks, or ask the admins.")


def check_partition(name: str, limits: Mapping[str, Any], profile: Profile) -> Check:
    """Check that a partition is there and open, allows the time of the profile, and has its GPUs if it must."""
    shown = _output("scontrol", "show", "partition", name)
    what, fix = f"partition {name}", f"Correct `partitions` in {profile.file}."
    if not shown:
        others = ", ".join(re.findall(r"PartitionName=(\S+)", _output("scontrol", "show", "partition")))
        return Check(what, "wrong", f"there is none of this name, but {others or 'no other'}. {fix}")
    if _value(shown, "State") != "UP":
        state = _value(shown, "State")
        return Check(what, "wrong", f"takes no jobs, it is {state}. Wait, or {fix[0].lower()}{fix[1:]}")
    allowed, wanted = minutes_of(_value(shown, "MaxTime")), minutes_of(str(limits.get("max_runtime", "0")))
    if wanted > allowed:
        return Check(what, "wrong", f"jobs may take {allowed:g} minutes, the profile says {wanted:g}. {fix}")
    text = f"up, {_value(shown, 'TotalNodes')} nodes"
    if int(limits.get("max_gpu", 0)) > 0:
        offered = set(_output("sinfo", "-h", "-p", name, "-o", "%G").split()) - {"(null)"}
        kind = profile.gres.rpartition(":")[0] or profile.gres
        if not any(re.match(rf"(.*,)?{re.escape(kind)}[:(,]", f"{resource},") for resource in offered):
            gpus = ", ".join(sorted(offered)) or "no GPU"
            return Check(what, "wrong", f"its nodes have {gpus}, jobs ask for {profile.gres}. Correct `site.gpu`.")
        if refusal(profile.gres):
            problem = f"its nodes have it, but the plugin refuses to ask for {profile.gres}, see gres"
            return Check(what, "wrong", problem)
        text += f" with {', '.join(sorted(offered))}"
    return Check(what, "ok", text)


def minutes_of(text: str) -> float:
    """Return a time of SLURM or of the plugin (1-12:00:00, 90, 1d, 12h, UNLIMITED) in minutes."""
    if text in ("UNLIMITED", "INFINITE"):
        return float("inf")
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([dhms])", text):
        return float(found[1]) * {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}[found[2]]
    days, _, clock = text.rpartition("-")
    parts = [float(part) for part in clock.split(":")] if re.fullmatch(r"[\d:.]+", clock) else [0.0]
    if days:
        hours, minutes, seconds = (*parts, 0.0, 0.0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0.0, parts[0], (*parts, 0.0)[1]
    return float(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


# The probe ------------------------------------------------------------------------------------------------------------


def probe_kinds(profile: Profile) -> list[tuple[str, str]]:
    """Return (partition, gres) of the probes: one with a GPU, one without, each where such jobs would go."""
    kinds = []
    for gres in dict.fromkeys((profile.gres, "")):
        able = [name for name, limits in profile.partitions.items() if bool(limits.get("max_gpu", 0)) == bool(gres)]
        kinds.append(((able or list(profile.partitions) or [""])[0], gres))
    return kinds


def check_probe(
    profile: Profile, partition: str, gres: str, folder: Path, patience: float, say: Callable[[str], None]
) -> Check:
    """Submit a job of at most one minute and check its answer from the node.

    Args:
        partition: where it goes, "" for the default one.
        gres: generic resources that it asks for, "" for no GPU.
        folder: of the results; the job writes there, which shows that nodes share it.
        patience: seconds to wait for its end; then it is cancelled.
    """
    what = f"probe {partition}".strip()
    folder.mkdir(parents=True, exist_ok=True)
    answer, log = folder / f".probe-{os.getpid()}-{gres or 'cpu'}.json", folder / f".probe-{os.getpid()}.log"
    inner = f"{shlex.quote(sys.executable)} -m editfrontier probe --out {shlex.quote(str(answer.absolute()))}"
    command = ["sbatch", "--parsable", "--job-name", "editfrontier-probe", "--time", "1", "--mem", "4000"]
    command += ["--ntasks", "1", "--cpus-per-task", "1", "--export", "ALL", "--output", str(log.absolute())]
    command += [*(["-p", partition] if partition else []), *(["--gres", gres] if gres else [])]
    command += [*(["-A", profile.account] if profile.account else [])]
    command += ["--wrap", f"{profile.precommand} && {inner}" if profile.precommand else inner]
    result = subprocess.run(command, encoding="utf-8", errors="replace", capture_output=True, check=False)
    job = result.stdout.strip().partition(";")[0]
    if result.returncode or not job.isdigit():
        return Check(what, "wrong", f"sbatch refused it: {result.stderr.strip()}. Correct {profile.file}.")
    say(f"probe job {job} in partition {partition or '(default)'}{f' with {gres}' if gres else ''}")
    try:
        return _probe_result(what, job, answer, log, bool(gres), patience)
    finally:
        _output("scancel", job)
        for file in (answer, log):
            file.unlink(missing_ok=True)


def _probe_result(what: str, job: str, answer: Path, log: Path, gpu: bool, patience: float) -> Check:
    deadline, state = time.monotonic() + patience, ""
    while time.monotonic() < deadline:
        state = _output("squeue", "-h", "--states=all", "-j", job, "-o", "%T").strip()
        if answer.is_file() or state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            break
        time.sleep(0.5)
    for _ in range(20):  # a shared file system may show the answer a little later
        if answer.is_file():
            return judge_probe(what, json.loads(answer.read_text(encoding="utf-8")), gpu)
        if state in ("PENDING", "RUNNING"):
            break
        time.sleep(0.5)
    if state == "PENDING":
        reason = _output("squeue", "-h", "-j", job, "-o", "%r").strip()
        text = f"waited {patience:.0f} s in the queue ({reason}); nothing is known. Use --patience."
        return Check(what, "note", text)
    words = (
        log.read_text(encoding="utf-8", errors="replace").split()[-40:] if log.is_file() else ["it left no log here"]
    )
    fix = "Jobs need this folder and this environment: both must be on a file system that the nodes share."
    return Check(what, "wrong", f"ended as {state or 'unknown'} without an answer: {' '.join(words)}. {fix}")


def judge_probe(what: str, node: Mapping[str, Any], gpu: bool) -> Check:
    """Judge what `probe` found on a node, where a job with or without a GPU ran."""
    text = f"node {node['host']}, Python {node['python']}, torch {node['torch']}"
    if not gpu:
        return Check(what, "ok", text)
    if node["gpus"]:
        return Check(what, "ok", f"{text}, {', '.join(node['gpus'])}")
    text += f", CUDA_VISIBLE_DEVICES={node['visible'] or 'not set'}, but torch sees no GPU"
    fix = "The driver on the node is too old for this torch, or absent, or the GPU was not given to the job."
    return Check(what, "wrong", f"{text}. {fix}")


def probe() -> dict[str, Any]:
    """Return what there is where this runs: host, Python, torch, names of GPUs, what SLURM made visible."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }


# What a killed run leaves ---------------------------------------------------------------------------------------------


def check_orphans(profile: Profile, folder: Path) -> Iterator[Check]:
    """Look for jobs and locks of a run in this folder whose Snakemake is gone.

    A second run would submit the same jobs again, and both would write the same files.
    """
    alive = _running(folder)
    rows = [
        line.split("|", 3)
        for line in _output("squeue", "-h", "-u", getpass.getuser(), "-o", "%i|%T|%j|%Z").splitlines()
    ]
    mine = [row for row in rows if len(row) == 4 and row[2].startswith(f"{profile.prefix}_") and _same(row[3], folder)]
    jobs = [row[0] for row in mine]
    locked = any((folder / ".snakemake/locks").glob("*"))
    if alive:
        number = ", ".join(map(str, alive))
        yield Check("runs", "note", f"Snakemake runs here now (process {number}), with {len(jobs)} jobs in the queue")
        return
    if jobs:
        fix = "Unless it runs on another login node, cancel them before the next run, which would submit them again:"
        text = f"{len(jobs)} jobs of a run here that has ended. {fix} scancel {' '.join(jobs)}"
        yield Check("orphans", "wrong", text)
    if locked:
        yield Check("lock", "wrong", "a run was killed and left the folder locked. Run `snakemake --unlock`.")
    if not jobs and not locked:
        yield Check("orphans", "ok", "no jobs and no lock of an earlier run")


def _same(place: str, folder: Path) -> bool:
    return Path(place).resolve() == folder.resolve()


def _running(folder: Path) -> list[int]:
    """Return the processes of Snakemake on this machine that work in a folder and are no jobs of a cluster."""
    processes = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid == os.getpid() or not any("snakemake" in word for word in words[:4]):
            continue
        try:
            if _same(process.cwd(), folder) and "SLURM_JOB_ID" not in process.environ():
                processes.append(process.pid)
        except psutil.Error:
            continue
    return processes
