"""Lines of the log with the progress of a download, a check or an archive."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between two lines."""

Progress = Callable[[int, int], None]
"""(bytes done, bytes in total or 0 if that is not known)"""


def reporter(what: str, period: float = PERIOD, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Return a function that logs progress, at most once in `period` seconds."""
    started = last = clock()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last < period:
            return
        last = now
        speed = done / (now - started) / 1e6
        share = f"{100 * done / total:.0f} % of {total / 1e9:.2f} GB" if total else f"{done / 1e9:.2f} GB"
        log.info("%s: %s, %.1f MB/s", what, share, speed)

    return report
