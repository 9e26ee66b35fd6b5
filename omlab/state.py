"""What is known about running clusters, on disk below OMLAB_DIR (default /run/omlab).

One directory per cluster: lab.json (keeper and nodes), one request socket per node, and the mount point of
the nodes' roots. A PID is believed only together with its start time, so a number used again by the
kernel is never mistaken for ours.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


def base() -> Path:
    """Directory of all clusters."""
    return Path(os.environ.get("OMLAB_DIR", "/run/omlab"))


def lab_directory(name: str) -> Path:
    """Directory of one cluster. Raises ValueError for a name that is no plain word."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a cluster: letters, digits, - and _, at most 41")
    return base() / name


@dataclass(frozen=True)
class Process:
    """A process for certain: PID on the machine, and start time in clock ticks after boot."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this PID now. Raises ProcessLookupError when there is none."""
        return cls(pid, _start_ticks(pid))

    def runs(self) -> bool:
        """Whether it is still there (a zombie is not)."""
        try:
            return _start_ticks(self.pid) == self.start_ticks
        except ProcessLookupError:
            return False


def _start_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise ProcessLookupError(f"no process {pid}") from error
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])


@dataclass(frozen=True)
class Lab:
    """A running cluster: its keeper, the nodes' PID 1 by node number, and whether it outlives its maker."""

    name: str
    keeper: Process
    nodes: dict[int, Process]
    detached: bool

    def save(self) -> None:
        """Write lab.json in one step."""
        directory = lab_directory(self.name)
        text = json.dumps(asdict(self))
        (directory / "lab.json.new").write_text(text)
        (directory / "lab.json.new").replace(directory / "lab.json")


def load(name: str) -> Lab | None:
    """The cluster of that name as recorded, running or not; None when there is no (readable) record."""
    try:
        raw = json.loads((lab_directory(name) / "lab.json").read_text())
        nodes = {int(number): Process(**process) for number, process in raw["nodes"].items()}
        return Lab(raw["name"], Process(**raw["keeper"]), nodes, raw["detached"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def names() -> list[str]:
    """Names of all clusters that left a directory, running or not."""
    try:
        return sorted(path.name for path in base().iterdir() if path.is_dir() and _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def remove(name: str) -> None:
    """Remove the cluster's directory, and the common one when it was the last."""
    with locked():
        shutil.rmtree(lab_directory(name), ignore_errors=True)


@contextmanager
def locked() -> Iterator[None]:
    """Keep others out while a cluster's directory is made or removed; removes the base when empty."""
    base().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(base().parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        base().mkdir(parents=True, exist_ok=True)
        yield
        try:
            base().rmdir()
        except OSError:
            pass
    finally:
        os.close(descriptor)
