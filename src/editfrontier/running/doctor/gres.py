"""What the SLURM plugin makes of the GPU that a profile asks for, found by asking the plugin's own functions.

Its pattern is narrower than SLURM's: no "-", no "+", no second resource. It refuses a job only when it submits it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from editfrontier.running.doctor import Check


def plugin_is_here() -> bool:
    """Return whether the plugin is installed; without it there is no check."""
    return importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None


def _job(gres: str) -> Any:
    """Stand in for a job, with what the plugin's functions read of it."""
    from snakemake.iocontainers import Namedlist

    return SimpleNamespace(resources=Namedlist(fromdict={"gres": gres}))


def refusal(gres: str) -> str:
    """Return why the plugin would refuse to submit a job that asks for these generic resources, "" if it would not."""
    if not gres or not plugin_is_here():
        return ""
    from snakemake_executor_plugin_slurm.partitions import parse_gpu_requirements
    from snakemake_executor_plugin_slurm.utils import set_gres_string
    from snakemake_interface_common.exceptions import WorkflowError

    try:
        set_gres_string(_job(gres))
        parse_gpu_requirements(_job(gres))
    except WorkflowError as error:
        return " ".join(str(error).split()).rstrip(".")
    except ValueError:
        return "it takes what stands last for a count"
    return ""


def accepted(gres: str) -> str:
    """Return the nearest request that the plugin takes, "" if none is: the first resource, with a count, without its
    kind."""
    first = gres.partition(",")[0]
    count = first.rpartition(":")[2]
    plain = f"{first.partition(':')[0]}:{count if count.isdigit() else 1}"
    return next((text for text in (first, f"{first}:1", plain) if not refusal(text)), "")


def check_gres(gres: str, partitions: Mapping[str, Mapping[str, Any]], file: Path) -> Check:
    """Check that the plugin submits jobs that ask for a GPU, and knows a partition for them.

    Args:
        partitions: name -> limits, as the plugin reads them.
    """
    if why := refusal(gres):
        other = accepted(gres)
        fix = f"Set `site.gpu` in {file} to {other}" if other else f"Correct `site.gpu` in {file}"
        if other and other.count(":") < gres.partition(",")[0].count(":"):
            fix += "; where a partition has several kinds of GPU, choose by a feature of its nodes (`constraint`)"
        return Check("gres", "wrong", f"the plugin refuses jobs that ask for {gres}: {why}. {fix}.")
    if not partitions or not plugin_is_here():
        return Check("gres", "ok", f"jobs ask for {gres}")
    from snakemake_executor_plugin_slurm.partitions import parse_gpu_requirements

    count, kind = parse_gpu_requirements(_job(gres))
    roomy = [name for name, limits in partitions.items() if int(limits.get("max_gpu", 0)) >= count]
    if not roomy:
        problem = f"no partition of {file} has {count} GPUs (`max_gpu`), so that such jobs go to the default partition"
        return Check("gres", "wrong", f"{problem}. Correct `partitions`.")
    named = {name: partitions[name].get("available_gpu_models") or [] for name in roomy}
    if kind and not any(not kinds or kind in kinds for kinds in named.values()):
        offered = ", ".join(sorted({str(model) for kinds in named.values() for model in kinds}))
        problem = f"jobs ask for {kind}, but `available_gpu_models` of {', '.join(roomy)} has {offered}"
        fix = f"Write {kind} there too, in {file}"
        return Check("gres", "wrong", f"{problem}, so that they go to the default partition. {fix}.")
    return Check("gres", "ok", f"the plugin submits jobs that ask for {gres}")
