"""A real SLURM on one machine: several nodes, GPUs that are only device files, everything in one folder.

It needs root, and the Debian packages slurmctld, slurmd, slurm-client and munge; no systemd, no cgroups, no database.
Its only trace outside of its folder is the link /etc/slurm/slurm.conf, which goes when it stops: the plugin of
Snakemake takes SLURM_CONF out of the environment of a job's steps, so that the file must lie where SLURM looks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LINK = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
# Debian keeps the daemons where the PATH of a user may not look.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONF = """
ClusterName=fake
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
{loopback}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is put back into the queue starts again when its credential has run out.
AuthInfo=socket={root}/run/munge.sock,cred_expire=10
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
# No cgroups, so that it runs in any container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
# More processors and memory than the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
GresTypes=gpu
NodeName=DEFAULT CPUs=16 RealMemory=500000 State=UNKNOWN
NodeName=g[1-{gpu_nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] Gres=gpu:a100:{gpus}
NodeName=c1 NodeHostname={host} NodeAddr=127.0.0.1 Port={cpu_port}
PartitionName=gpu Nodes=g[1-{gpu_nodes}] MaxTime=1-0 DefaultTime=10 State=UP
PartitionName=cpu Nodes=c1 Default=YES MaxTime=1-0 DefaultTime=10 State=UP
# Short periods everywhere.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=2
MinJobAge=600
KillWait=2
SlurmdTimeout=10
SlurmctldTimeout=10
ReturnToService=2
DebugFlags=NO_CONF_HASH
"""


class ClusterError(Exception):
    """The cluster does not do what it must; the message ends with the logs."""


def why_not() -> str:
    """Return why no cluster can be started here, "" if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        packages = "slurmctld slurmd slurm-client munge"
        return f"SLURM is not installed (no {', '.join(missing)}); on Debian: apt-get install {packages}"
    if os.geteuid() != 0:
        return "a SLURM of its own needs root"
    if not LINK.exists():
        return ""
    if "ClusterName=fake" not in LINK.read_text():
        return f"this machine has a SLURM of its own ({LINK})"
    try:
        running = alive(int((LINK.resolve().parents[1] / "run/slurmctld.pid").read_text()))
    except (OSError, ValueError):
        running = False
    return f"another run of the tests has a cluster here ({LINK.resolve()})" if running else ""


@dataclass(frozen=True)
class FakeCluster:
    """A cluster in a folder.

    Attributes:
        root: its folder; a short path, since sockets lie in it.
        gpu_nodes: nodes with GPUs, g1, g2 and so on; there is one without, c1.
        gpus: GPUs of each.
        port: the first of the ports that it takes.
    """

    root: Path
    gpu_nodes: int = 5
    gpus: int = 1
    port: int = 17170

    @property
    def nodes(self) -> list[str]:
        return [*(f"g{i + 1}" for i in range(self.gpu_nodes)), "c1"]

    def start(self) -> None:
        """Start everything and wait until all nodes are idle."""
        for name in ("etc", "log", "run", "state", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._write_conf()
        LINK.parent.mkdir(parents=True, exist_ok=True)
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(self.root / "etc/slurm.conf")
        os.environ["SLURM_CONF"] = str(self.root / "etc/slurm.conf")  # gres.conf is looked for beside it
        run = self.root / "run"
        files = {"key-file": "etc/munge.key", "log-file": "log/munged.log"}
        files |= {"socket": "run/munge.sock", "pid-file": "run/munged.pid", "seed-file": "run/munge.seed"}
        self._run("munged", "--force", *(f"--{option}={self.root / file}" for option, file in files.items()))
        self._wait(10, "munged", lambda: self._works("munge", "-n", f"--socket={run / 'munge.sock'}"))
        self._run("slurmctld", "-i")
        self._wait(30, "slurmctld", lambda: self._works("scontrol", "ping"))
        for node in self.nodes:
            self._run("slurmd", "-N", node)
        self._wait(30, "idle nodes", lambda: set(self._states()) == {"idle"} and len(self._states()) == len(self.nodes))

    def stop(self) -> None:
        """End all jobs and all of the cluster's processes, and remove its folder."""
        subprocess.run(["scancel", "--user=root"], timeout=20, stderr=subprocess.DEVNULL, check=False)
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline and self.jobs():
            time.sleep(0.1)
        daemons = [*(f"slurmd-{node}" for node in self.nodes), "slurmctld", "munged"]
        pids = [pid for pid in map(self._pid, daemons) if pid]
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and any(map(alive, pids)):
            time.sleep(0.1)
        for pid in [*filter(alive, pids), *self._processes()]:
            _signal(pid, signal.SIGKILL)
        if LINK.is_symlink() and LINK.readlink() == self.root / "etc/slurm.conf":
            LINK.unlink()
        os.environ.pop("SLURM_CONF", None)
        shutil.rmtree(self.root, ignore_errors=True)

    def jobs(self) -> dict[str, tuple[str, str, str]]:
        """Return the jobs that are waiting or running: id -> (state, node, comment)."""
        result = subprocess.run(["squeue", "-h", "-o", "%i|%T|%N|%k"], text=True, capture_output=True, check=False)
        rows = [line.split("|", 3) for line in result.stdout.splitlines()]
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def asked(self) -> dict[str, tuple[str, str]]:
        """Return what jobs asked for, finished or not: comment -> (partition, gres); "N/A" = nothing."""
        command = ["squeue", "-h", "--states=all", "-o", "%k|%P|%b"]
        result = subprocess.run(command, text=True, capture_output=True, check=False)
        rows = [line.split("|", 2) for line in result.stdout.splitlines()]
        return {row[0]: (row[1], row[2]) for row in rows}

    def state(self, job: str) -> str:
        """Return the state of a job, finished or not, for example TIMEOUT."""
        command = ["squeue", "-h", "--states=all", "-o", "%T", "-j", job]
        return subprocess.run(command, text=True, capture_output=True, check=False).stdout.strip()

    def command(self, *command: str) -> None:
        """Run a command of SLURM that must succeed."""
        self._run(*command)

    def kill_node(self, node: str) -> None:
        """Let a node crash: its daemon and all processes of its jobs end at once."""
        for pid in [self._pid(f"slurmd-{node}"), *self._processes(node)]:
            if pid:
                _signal(pid, signal.SIGKILL)
        (self.root / f"run/slurmd-{node}.pid").unlink(missing_ok=True)

    def start_lost_nodes(self) -> None:
        """Bring back the nodes that crashed."""
        for node in self.nodes:
            if not self._pid(f"slurmd-{node}"):
                self._run("slurmd", "-N", node)
                self._wait(30, f"node {node}", lambda node=node: "down" not in self._states(node)[0])

    # ------------------------------------------------------------------------------------------------------------------

    def _write_conf(self) -> None:
        host = socket.gethostname().partition(".")[0]
        try:
            local = socket.gethostbyname(host).startswith("127.")
        except OSError:
            local = False
        first = self.port + 101
        conf = CONF.format(
            root=self.root,
            host=host,
            port=self.port,
            # Where the name of the machine is not a loopback name, the daemons could not bind to it.
            loopback="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if local else "",
            gpu_nodes=self.gpu_nodes,
            gpus=self.gpus,
            first=first,
            last=first + self.gpu_nodes - 1,
            cpu_port=first + self.gpu_nodes,
        )
        if self.gpu_nodes == 1:
            conf = conf.replace("g[1-1]", "g1").replace(f"[{first}-{first}]", str(first))
        (self.root / "etc/slurm.conf").write_text(conf)
        devices = [self.root / f"dev/nvidia{i}" for i in range(self.gpus)]
        for device in devices:
            # A copy of /dev/null. With a regular file, SLURM would not tell a job which GPU it has.
            self._run("mknod", str(device), "c", "1", "3")
        last = f"[0-{self.gpus - 1}]" if self.gpus > 1 else "0"
        names = f"g[1-{self.gpu_nodes}]" if self.gpu_nodes > 1 else "g1"
        gres = f"AutoDetect=off\nNodeName={names} Name=gpu Type=a100 File={self.root}/dev/nvidia{last}\n"
        (self.root / "etc/gres.conf").write_text(gres)
        key = self.root / "etc/munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)

    def _run(self, *command: str) -> None:
        result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if result.returncode:
            raise ClusterError(f"{' '.join(command)}: {result.stdout}\n{self._logs()}")

    def _works(self, *command: str) -> bool:
        return (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )

    def _wait(self, seconds: float, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {seconds:.0f} s for {what}\n{self._logs()}")
            time.sleep(0.1)

    def _states(self, node: str = "") -> list[str]:
        command = ["sinfo", "-h", "-N", "-o", "%T", *(["-n", node] if node else [])]
        return subprocess.run(command, text=True, capture_output=True, check=False).stdout.split() or ["down"]

    def _pid(self, daemon: str) -> int:
        try:
            return int((self.root / f"run/{daemon}.pid").read_text())
        except (OSError, ValueError):
            return 0

    def _processes(self, node: str = "") -> list[int]:
        """Return the processes of this cluster's jobs, on one node or on all: known by environment or open files."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                if (folder / "comm").read_text().strip() == "slurmstepd":
                    files = [str(file.readlink()) for file in (folder / "fd").iterdir()]
                    places = [f"{self.root}/spool/{node}", f"{self.root}/log/slurmd-{node}"]
                    mine = any(file.startswith(place) for file in files for place in places)
                else:
                    lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                    mine = any(line.startswith(f"SLURMD_NODENAME={node}") for line in lines)
                    mine = mine and f"SLURM_CONF={self.root}/etc/slurm.conf" in lines
            except OSError:
                continue
            if mine:
                found.append(int(folder.name))
        return found

    def _logs(self) -> str:
        parts = [f"== {file.name}\n{file.read_text()[-2000:]}" for file in sorted((self.root / "log").glob("*.log"))]
        return "\n".join(parts)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
