"""Warm start: a process that has imported the heavy libraries once, and forks a child for each job.

Importing torch, diffusers and the rest takes seconds, which is most of a short job. On one machine without a GPU a run
of the workflow therefore starts a server (`start_for`), and the programs of `scripts/` hand their work to it if
EDITFRONTIER_WARM names its socket (`delegate`). EDITFRONTIER_WARM=0 in the environment of `snakemake` switches it off.

A child must be what a fresh process would be. So the server forks only while it has a single thread, and only for a
client in its own `situation`: same Python, same code, same environment variables, same limits. In every other case, and
whenever something goes wrong before the child exists, the client does the work itself. What is shared all the same
is the seed of Python's string hashes and the libraries as they were when the server imported them.

The talk on the Unix socket: the client sends its request with its standard files; the server answers READY or hangs
up; the client sends GO and from then on leaves the job to the server; the server forks, and sends a report (JSON) when
the child has ended. If the client hangs up, the server kills the child. The server ends when its standard input does,
which is a pipe that its starter holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from editfrontier.base.errors import TERMINAL

# A client imports this module before each job, and must cost next to nothing: whatever else is imported inside.
if TYPE_CHECKING:
    import subprocess

VARIABLE = "EDITFRONTIER_WARM"
RULES = ("cases", "reference", "edit", "score", "sources", "summarise", "analyse", "validation")
"""Rules whose scripts import torch."""

WORTH = 8
"""Jobs of such rules that make up for starting a server."""

THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
READY, GO = b"R", b"G"
PEAK = "peak memory {:.0f} MiB"
"""What the client says of a job at its end, because nobody who watches the client sees the memory of the child."""

# Variables that may differ between server and client: the shell's own, and where temporary files go.
_FREE = {VARIABLE, TERMINAL, "_", "PWD", "OLDPWD", "SHLVL", "TMPDIR", "TMP", "TEMP", "TEMPDIR"}
PREFIX = "editfrontier-warm-"
"""What the folder of a server, below that of temporary files, begins with. Its `lock` is locked while it runs."""

PATIENCE = 10.0  # seconds to wait for the other side while nothing has started yet


def situation() -> str:
    """Return a hash of what a process inherits or reads once: two processes with the same one can stand in for each
    other."""
    package = Path(__file__).parents[1]
    code = []
    for folder, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                state = os.stat(os.path.join(folder, name))
                code.append((os.path.join(folder, name), state.st_mtime_ns, state.st_size))
    umask = os.umask(0o077)
    os.umask(umask)
    facts = {
        "python": [sys.version, os.path.realpath(sys.executable), sys.prefix, list(sys.flags), sys.warnoptions],
        "code": sorted(code),
        "environment": {key: value for key, value in os.environ.items() if key not in _FREE},
        "limits": [umask, os.getuid(), os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# Client --------------------------------------------------------------------------------------------------------------


def delegate(arguments: Sequence[str], rules: Sequence[str] = RULES) -> int | None:
    """Let the warm server run a script, if there is one that can.

    Args:
        arguments: the script and its options, as `sys.argv`.
        rules: those whose scripts are worth it.

    Returns:
        The exit status, 128 + n for a child that signal n ended; None if nothing was started, so that the script runs
        here.
    """
    path = os.environ.get(VARIABLE, "0")
    if path in ("", "0") or not _suits(arguments, rules):
        return None
    connection = socket.socket(socket.AF_UNIX)
    with connection:
        try:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            request = {
                "situation": situation(),
                "arguments": list(arguments),
                "folder": os.getcwd(),
                "environment": dict(os.environ),
            }
            content = json.dumps(request).encode()
            socket.send_fds(connection, [len(content).to_bytes(4, "big")], [0, 1, 2, *_terminal()])
            connection.sendall(content)
            if connection.recv(1) != READY:
                return None
        except (OSError, ValueError):
            return None
        return _attend(connection)


def _terminal() -> list[int]:
    """Return the descriptor of the terminal behind the log, if this process has it."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        number = int(os.environ[TERMINAL])
        os.fstat(number)
        return [number] if number == 3 else []
    return []


def _suits(arguments: Sequence[str], rules: Sequence[str]) -> bool:
    if Path(arguments[0]).stem not in rules:
        return False
    devices = [place for place, word in enumerate(arguments) if word.startswith("--device")]
    return all(arguments[place : place + 2] == ["--device", "cpu"] for place in devices)


def _attend(connection: socket.socket) -> int:
    """Start the child, wait until it has ended, and return its exit status."""
    caught: list[int] = []

    def hang_up(number: int, _: object) -> None:
        caught.append(number)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, hang_up)
    connection.settimeout(None)
    report = b""
    with contextlib.suppress(OSError):
        connection.sendall(GO)
        while block := connection.recv(4096):
            report += block
    if caught:  # the child is gone by now; end as if nobody had caught the signal
        signal.signal(caught[0], signal.SIG_DFL)
        os.kill(os.getpid(), caught[0])
    if not report:
        print("error: the warm start ended before the job did. Run it again.", file=sys.stderr)
        return 1
    ended = json.loads(report)
    print(PEAK.format(ended["peak_kib"] / 1024), file=sys.stderr)
    status = os.waitstatus_to_exitcode(ended["status"])
    return status if status >= 0 else 128 - status


# Starting a server ----------------------------------------------------------------------------------------------------


def start_for(rules: Iterable[str], threads: int, log: Path) -> Callable[[], None]:
    """Start a server for a run if enough of its jobs gain by it, and let them find it; return what ends it.

    It needs Linux, which can fork a process that has loaded the libraries.

    Args:
        rules: of the jobs that are going to run here, one for each job.
        threads, log: as for `start`.
    """
    worth = sum(rule in RULES for rule in rules) >= WORTH
    if not worth or sys.platform != "linux" or os.environ.get(VARIABLE) == "0":
        return lambda: None
    server, path = start(threads, log)
    os.environ[VARIABLE] = str(path)
    return lambda: stop(server)


def start(threads: int, log: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a server for jobs of this process; return at once.

    Args:
        threads: of each job, as Snakemake sets the environment of its jobs.
        log: file of what the server says.

    Returns:
        The process, which ends when its standard input is closed or this process ends, and the path of its socket.
    """
    import fcntl
    import subprocess
    import tempfile

    clear_dead()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    path = folder / "warm"
    settings = {f"{library}_NUM_THREADS": str(threads) for library in THREADS}
    settings["VECLIB_MAXIMUM_THREADS"] = str(threads)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream, (folder / "unlocked").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the open file, which the server inherits
        (folder / "unlocked").rename(folder / "lock")  # another run never finds it without the lock
        process = subprocess.Popen(
            [sys.executable, "-m", "editfrontier.running.warm_server", str(path)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **settings},
            pass_fds=[lock.fileno()],
            start_new_session=True,  # Ctrl-C ends the jobs through their clients
        )
    return process, path


def clear_dead() -> None:
    """Remove the folders of servers that are gone, which those that were killed left behind."""
    import fcntl
    import shutil
    import tempfile

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with (folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it runs, is being made, or is another user's
            continue


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, and wait until it has ended."""
    import subprocess

    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
