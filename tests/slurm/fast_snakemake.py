"""Snakemake that looks at its SLURM jobs twice a second.

The plugin waits 10 s longer after every look that found no job completed, so that a test would mostly wait. Only the
main process is changed: jobs run plain `python -m snakemake`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

PERIOD = 0.5  # seconds


async def _sleep(self: Any) -> None:
    await asyncio.sleep(PERIOD)


if __name__ == "__main__":
    RemoteExecutor.sleep = _sleep
    main()
