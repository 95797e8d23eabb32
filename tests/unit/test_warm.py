"""The warm start: a child is what a fresh process would be, and nothing outlives what it belongs to."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from editfrontier.running import warm
from editfrontier.study.report import study_data

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds and /proc")

SERVER = """
import json, os, random, sys, time
from pathlib import Path
from editfrontier.running.warm_server import serve

def main():
    match sys.argv[1]:
        case "tell":
            import numpy
            print(json.dumps({"argv": sys.argv, "cwd": os.getcwd(), "tmp": os.environ.get("TMP"), "pid": os.getpid(),
                "draws": [random.random(), numpy.random.random()], "in": sys.stdin.read()}))
            print("to stderr", file=sys.stderr)
        case "last":
            from editfrontier.base.errors import say_last
            say_last("last words")
        case "exit":
            sys.exit(7)
        case "die":
            os.kill(os.getpid(), 9)
        case "wait":
            Path(sys.argv[2]).write_text(str(os.getpid()))
            time.sleep(60)

serve(Path(sys.argv[1]), ("random", "numpy"), main)
"""
CLIENT = """
import sys
from editfrontier.running.warm import delegate
status = delegate(sys.argv[1:], ("job",))
sys.exit(99 if status is None else status)  # 99: it would run here, cold
"""
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def server(tmp_path):
    path = tmp_path / "folder" / "socket"
    path.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)], stdin=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path
    )
    until(lambda: path.exists() or process.poll() is not None)
    yield process, path
    warm.stop(process)
    assert not path.parent.exists()


def client(path, *arguments, **options):
    environment = {**ENVIRONMENT, "EDITFRONTIER_WARM": str(path), **options.pop("env", {})}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # A shell starts what runs in its background with SIGINT ignored, and that is inherited.
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, "scripts/job.py", *arguments], env=environment, text=True, **pipes, **options
    )


def test_a_child_has_the_arguments_folder_environment_and_files_of_its_client(server, tmp_path):
    told = []
    for _ in range(2):
        job = client(server[1], "tell", "a b", cwd=tmp_path / "folder", env={"TMP": "/there"})
        out, err = job.communicate("from stdin")
        assert job.returncode == 0, err
        assert err.startswith("to stderr\npeak memory ")
        told.append(json.loads(out))
    assert told[0]["argv"] == ["scripts/job.py", "tell", "a b"]
    assert told[0]["cwd"] == str(tmp_path / "folder")
    assert (told[0]["tmp"], told[0]["in"]) == ("/there", "from stdin")
    assert told[0]["draws"][0] != told[1]["draws"][0]
    assert told[0]["draws"][1] != told[1]["draws"][1]


@pytest.mark.parametrize(("what", "status"), [("exit", 7), ("die", 137)])
def test_the_exit_status_of_a_child_is_that_of_its_client(server, what, status):
    job = client(server[1], what)
    job.communicate()
    assert job.returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_client_takes_its_child_down_and_no_other(server, tmp_path, number):
    files = [tmp_path / "one", tmp_path / "two"]
    jobs = [client(server[1], "wait", str(file)) for file in files]
    until(lambda: all(file.exists() and file.read_text() for file in files))
    one, two = (int(file.read_text()) for file in files)
    jobs[0].send_signal(number)
    jobs[0].communicate()
    assert jobs[0].returncode == -number
    until(lambda: not alive(one))
    assert alive(two)
    jobs[1].kill()
    jobs[1].communicate()


@pytest.mark.parametrize("end", ["pipe", "kill"])
def test_children_end_with_the_server(server, tmp_path, end):
    file = tmp_path / "one"
    job = client(server[1], "wait", str(file))
    until(lambda: file.exists() and file.read_text())
    if end == "pipe":
        server[0].stdin.close()
    else:
        server[0].kill()
    _, err = job.communicate()
    assert job.returncode == 1
    assert "ended before the job did" in err
    until(lambda: not alive(int(file.read_text())))
    server[0].wait()
    if end == "kill":  # nobody was left to tidy up
        server[1].unlink()
        server[1].parent.rmdir()


def test_a_server_that_still_imports_ends_with_its_parent(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(20)\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    serve = "from pathlib import Path; from editfrontier.running.warm_server import serve; "
    serve += f"serve(Path({str(folder / 'warm')!r}), ('slow',))"
    start = f"""
import subprocess, sys, time
command = [sys.executable, "-c", {serve!r}]
print(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL).pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=tmp_path
    )
    server = int(parent.stdout.readline())
    until(lambda: (tmp_path / "importing").exists())
    parent.kill()
    parent.communicate()
    until(lambda: not alive(server), seconds=5)
    assert not folder.exists()


def test_a_new_server_clears_what_dead_ones_left_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, living, other = (tmp_path / name for name in (f"{warm.PREFIX}1", f"{warm.PREFIX}2", "editfrontier-x"))
    for folder in (dead, living, other):
        folder.mkdir()
        (folder / "lock").touch()
    with (living / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warm.clear_dead()
    assert [folder.exists() for folder in (dead, living, other)] == [False, True, True]


def test_a_child_has_the_terminal_behind_the_log_of_its_client(server, tmp_path):
    with (tmp_path / "terminal").open("w") as terminal:
        job = shlex.join([sys.executable, "-c", CLIENT, "scripts/job.py", "last"])
        command = f"exec 3>&{terminal.fileno()}; export EDITFRONTIER_TERMINAL=3; exec {job}"
        environment = {**ENVIRONMENT, "EDITFRONTIER_WARM": str(server[1])}
        status = subprocess.run(["bash", "-c", command], env=environment, pass_fds=[terminal.fileno()], timeout=60)
    assert status.returncode == 0
    assert (tmp_path / "terminal").read_text() == "last words\n"


def test_the_folder_of_a_killed_server_goes_with_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, path = warm.start(1, tmp_path / "warm.log")
    assert path.parent.is_dir()
    first.kill()
    first.wait()
    second, _ = warm.start(1, tmp_path / "warm.log")
    assert not path.parent.exists()
    second.kill()
    second.wait()


def test_what_does_not_fit_starts_cold(server, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("")
    for path, arguments, environment in [
        (server[1], ["tell"], {"OMP_NUM_THREADS": "2"}),
        (server[1], ["tell", "--device", "cuda"], {}),
        (server[1], ["tell", "--device=auto"], {}),
        (broken, ["tell"], {}),
        (tmp_path / "absent", ["tell"], {}),
        ("0", ["tell"], {}),
    ]:
        job = client(path, *arguments, env=environment)
        job.communicate()
        assert job.returncode == 99, (path, arguments, environment)


def test_a_server_runs_the_script_of_its_client_as_python_does(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("word = 'beside'\n")
    (tmp_path / "edit.py").write_text(
        "import sys\nfrom beside import word\nfrom editfrontier import program\n"
        "def main(case: program.Out) -> None:\n    print(__name__, word, case, sys.argv[0])\n    raise SystemExit(5)\n"
        "if __name__ == '__main__':\n    program.run(main)\n"
    )
    serve = "import sys; from pathlib import Path; from editfrontier.running.warm_server import serve; "
    folder = Path(tempfile.mkdtemp())
    process = subprocess.Popen(
        [sys.executable, "-c", f"{serve}serve(Path(sys.argv[1]), ('random',))", str(folder / "warm")],
        stdin=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    until(lambda: (folder / "warm").exists())
    for socket in (folder / "warm", "0"):
        job = subprocess.run(
            [sys.executable, "edit.py", "--case", "a"],
            cwd=tmp_path,
            env={**ENVIRONMENT, warm.VARIABLE: str(socket)},
            capture_output=True,
            text=True,
        )
        assert (job.returncode, job.stdout) == (5, "__main__ beside a edit.py\n"), job.stderr
        assert ("peak memory" in job.stderr) == (socket != "0")
    warm.stop(process)


def test_a_few_jobs_and_jobs_that_load_little_start_cold(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "start", lambda *_: pytest.fail("a server was started"))
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    warm.start_for(["edit"] * (warm.WORTH - 1) + ["table"] * 100, 1, tmp_path / "log")()
    monkeypatch.setenv(warm.VARIABLE, "0")
    warm.start_for(["edit"] * warm.WORTH, 1, tmp_path / "log")()
    assert os.environ[warm.VARIABLE] == "0"


def test_changed_code_is_another_situation(tmp_path, monkeypatch):
    (tmp_path / "warm.py").write_text("")
    monkeypatch.setattr(warm, "__file__", str(tmp_path / "warm.py"))
    before = warm.situation()
    assert warm.situation() == before
    (tmp_path / "new.py").write_text("")
    assert warm.situation() != before


def test_the_report_knows_the_memory_of_a_job_that_was_started_warm(tmp_path):
    for folder in ("benchmarks", "logs"):
        (tmp_path / folder / "edit" / "portraits").mkdir(parents=True)
    (tmp_path / "benchmarks/edit/portraits/a.tsv").write_text("s\tmax_rss\n2.0\t12.5\n")
    (tmp_path / "logs/edit/portraits/a.log").write_text("edited\n" + warm.PEAK.format(747.2) + "\n")
    assert study_data.stages(tmp_path / "benchmarks")[0]["memory"] == 747
