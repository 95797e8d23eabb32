"""Measure the whole micro study from nothing, and a run in which nothing has changed. Run by hand, on an idle machine.

The study is made in results/benchmark, which must not exist. Limits: 30 minutes on 2 cores, 8 GiB of memory (of all
processes together), and 10 s for the second run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

RESULTS = Path("results/benchmark")
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", f"results={RESULTS}"]
PERIOD = 0.5  # seconds between two looks at the memory


def timed_run(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds, and the most memory of all its processes in GiB (shared pages split)."""
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(tree))
            time.sleep(PERIOD)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed with status {process.returncode}.")
    return time.perf_counter() - started, peak / 2**30


def _memory(tree: psutil.Process) -> int:
    total = 0
    for process in [tree, *tree.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it has ended in the meantime
    return total


def main() -> None:
    """Print the measured values beside their limits."""
    if RESULTS.exists():
        sys.exit(f"error: {RESULTS} exists, so the run would not start from nothing. Remove it.")
    seconds, memory = timed_run(COMMAND)
    again, _ = timed_run(COMMAND)
    print(f"whole study       {seconds / 60:6.1f} min  (limit 30)")
    print(f"memory            {memory:6.1f} GiB  (limit 8)")
    print(f"nothing changed   {again:6.1f} s    (limit 10)")


if __name__ == "__main__":
    main()
