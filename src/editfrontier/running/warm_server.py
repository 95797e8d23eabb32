"""The server of the warm start: `python -m editfrontier.running.warm_server <socket>`, standard input a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editfrontier.running.warm import GO, PATIENCE, READY, VARIABLE, situation

MODULES = (
    "torch",
    "torchvision",
    "diffusers:StableDiffusionPipeline,StableDiffusionInpaintPipeline,StableDiffusionInstructPix2PixPipeline",
    "diffusers:FluxPipeline,StableDiffusion3Pipeline,SD3Transformer2DModel,AutoencoderKL",
    "transformers:CLIPTextModel,CLIPTextModelWithProjection,CLIPTokenizer,T5EncoderModel,T5TokenizerFast",
    "open_clip",
    "lpips",
    "scipy.stats",
    "torchmetrics.image",
)
"""What the server imports: a module, or `module:names` where a package loads its parts by need.

Not pandas and pyarrow, which start a thread when they are imported, and so nothing of this library.
"""


@dataclass
class _Job:
    """A request whose client is connected. `child` is 0 before the fork."""

    connection: socket.socket
    files: list[int]
    request: Mapping[str, Any]
    child: int = 0


def single_thread() -> bool:
    """Whether this process has one thread; False where that cannot be known."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def load(modules: Sequence[str]) -> None:
    """Import modules, given as in `MODULES`."""
    import importlib

    for entry in modules:
        name, _, parts = entry.partition(":")
        module = importlib.import_module(name)
        for part in filter(None, parts.split(",")):
            getattr(module, part)


def serve(path: Path, modules: Sequence[str] = MODULES, main: Callable[[], object] | None = None) -> None:
    """Fork a child for each request until the standard input ends; then kill the children and remove the socket.

    Args:
        path: of the Unix socket to make, in a folder of its own that goes when the server ends; at most 107 bytes. It
            is there once the modules are imported.
        modules: what to import.
        main: what a child runs with the `sys.argv` of its client; the script that it names by default.
    """
    import gc

    end_with_parent(path.parent)
    here = situation()  # before the imports, so that a change of the code meanwhile is noticed
    load(modules)
    if not single_thread():
        print("a library has started a thread: jobs start cold", file=sys.stderr)
        return
    gc.collect()
    gc.freeze()  # so that the collector of a child does not copy every page
    jobs: dict[int, _Job] = {}  # by the number of the connection, and by that of the child's pidfd
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        try:
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(64)
            selector.register(0, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == 0:
                        if not os.read(0, 4096):
                            return
                    elif key.fd == listener.fileno():
                        job = _accept(listener, here)
                        if job is not None:
                            jobs[job.connection.fileno()] = job
                            selector.register(job.connection, selectors.EVENT_READ)
                    elif key.fd in jobs:
                        _step(key.fd, jobs, selector, listener, main)
        finally:
            for job in {id(job): job for job in jobs.values() if job.child}.values():
                _kill(job.child)
                os.waitpid(job.child, 0)
            with contextlib.suppress(OSError):
                shutil.rmtree(path.parent)


def end_with_parent(folder: Path) -> None:
    """Let this process end, and its folder go, as soon as the process that started it is gone, however it went.

    Imports take seconds, in which nobody looks at the standard input.
    """
    parent = os.getppid()

    def end(*_: object) -> None:
        if os.getppid() != parent:  # the kernel also signals the end of the thread that started this process
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)

    signal.signal(signal.SIGUSR1, end)
    _signal_with_parent(signal.SIGUSR1)
    if select.select([0], [], [], 0)[0]:  # nobody writes to it: it has ended, and with it the parent, before this call
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _accept(listener: socket.socket, here: str) -> _Job | None:
    """Read a request, and answer READY if this server can do it as a fresh process would."""
    connection, _ = listener.accept()
    files: list[int] = []
    try:
        connection.settimeout(PATIENCE)
        head, files, _, _ = socket.recv_fds(connection, 4, 4)
        left = int.from_bytes(head, "big")
        content = bytearray()
        while len(content) < left and (block := connection.recv(min(left - len(content), 1 << 16))):
            content += block
        request = json.loads(content)
        if len(files) in (3, 4) and request["situation"] == here and single_thread():
            connection.sendall(READY)
            return _Job(connection, files, request)
    except (OSError, ValueError, KeyError):
        pass
    for file in files:
        os.close(file)
    connection.close()
    return None


def _step(
    number: int,
    jobs: dict[int, _Job],
    selector: selectors.BaseSelector,
    listener: socket.socket,
    main: Callable[[], object] | None,
) -> None:
    """Do what is next for a job: start it, kill it as its client is gone, or report that it has ended."""
    job = jobs[number]
    if number != job.connection.fileno():  # the pidfd of a child that has ended
        _, status, usage = os.wait4(job.child, 0)
        selector.unregister(number)
        os.close(number)
        del jobs[number], jobs[job.connection.fileno()]
        with contextlib.suppress(KeyError):
            selector.unregister(job.connection)
        with contextlib.suppress(OSError):
            job.connection.sendall(json.dumps({"status": status, "peak_kib": usage.ru_maxrss}).encode())
        job.connection.close()
        return
    try:
        said = job.connection.recv(1)
    except OSError:
        said = b""
    if said == GO and not job.child and single_thread():
        server = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        job.child = os.fork()
        if job.child == 0:
            _be_child(job, server, jobs, selector, listener, main)
        with contextlib.suppress(OSError):
            os.setpgid(job.child, job.child)  # the child does so too: whoever comes first
        watch = os.pidfd_open(job.child)
        jobs[watch] = job
        selector.register(watch, selectors.EVENT_READ)
        _close(job.files)
    elif not said or not job.child:
        selector.unregister(job.connection)
        if job.child:
            _kill(job.child)  # its end is reported when it has come
        else:
            del jobs[number]
            _close(job.files)
            job.connection.close()


def _close(files: list[int]) -> None:
    while files:
        os.close(files.pop())


def _kill(child: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


def _be_child(
    job: _Job,
    server: int,
    jobs: Mapping[int, _Job],
    selector: selectors.BaseSelector,
    listener: socket.socket,
    main: Callable[[], object] | None,
) -> None:
    """Take the place of the client and do its work; never return."""
    import traceback

    status = 1
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _die_with(server)
        for target, file in enumerate(job.files[:3]):
            os.dup2(file, target)
        terminal = os.dup(job.files[3]) if len(job.files) > 3 else None
        selector.close()
        listener.close()
        for number, other in jobs.items():
            if number == other.connection.fileno():
                _close(other.files)
            else:
                os.close(number)
        for other in {id(other): other for other in jobs.values()}.values():
            other.connection.close()
        if terminal is not None:
            os.dup2(terminal, 3)  # nothing else needs this number any more
        with _flushed():
            _take_over(job.request)
            status = _status(main or _script)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _die_with(server: int) -> None:
    """Let the kernel kill this process when the server is gone, however it went."""
    _signal_with_parent(signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _signal_with_parent(number: int) -> None:
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)


def _take_over(request: Mapping[str, Any]) -> None:
    """Set what a fresh process would find: folder, environment, arguments, and random numbers of its own."""
    import tempfile

    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]
    tempfile.tempdir = None
    # The server's own went to a file; to a terminal a fresh process would write line by line.
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    # torch starts from a fixed seed in every process, and the server draws nothing.


def _script() -> None:
    """Run the script that `sys.argv` names, here and not by the warm start again."""
    import runpy

    os.environ[VARIABLE] = "0"
    sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))  # as `python <script>` has it
    runpy.run_path(sys.argv[0], run_name="__main__")


def _status(main: Callable[[], object]) -> int:
    """Run the command; return the exit status as the interpreter would."""
    try:
        main()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _flushed() -> Iterator[None]:
    """Do at the end what the interpreter would: functions registered with `atexit`, and what is still to be written."""
    import atexit
    import traceback

    try:
        yield
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)  # nothing is left to do, and taking all the libraries down takes a while
