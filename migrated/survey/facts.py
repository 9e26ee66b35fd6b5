"""Facts of one process, read from /proc without touching it.

Owns the parsing of /proc/PID/{stat,status,limits,ns,cgroup}.  It never decides anything: `reasons.py` does.
A process may vanish between two reads; every reader then raises ProcessVanished.
Source of the field numbers: proc_pid_stat(5).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from omprotocol.errors import MosixError

_NAMESPACES = ("pid", "mnt", "net", "ipc", "uts", "user")


class ProcessVanished(MosixError):
    """The process ended while it was looked at."""

    def __init__(self, pid: int) -> None:
        super().__init__("no-such-process", f"No such process ({pid}).", 255)


class ProcessFacts(msgspec.Struct, frozen=True):
    """Identity and class of one process.  `start_ticks` makes a reused PID distinguishable."""

    pid: int
    start_ticks: int
    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    tty_device: int
    foreground_pgid: int
    threads: int
    uids: tuple[int, int, int, int]
    gids: tuple[int, int, int, int]
    groups: tuple[int, ...]
    tracer_pid: int
    seccomp: int
    locked_bytes: int
    rss_bytes: int
    size_bytes: int
    policy: int
    cpu_ticks: int
    kernel_thread: bool

    @property
    def uid(self) -> int:
        """The real user id."""
        return self.uids[0]

    @property
    def gid(self) -> int:
        """The real group id."""
        return self.gids[0]


def read_facts(pid: int) -> ProcessFacts:
    """Read the facts of `pid`.  Raises ProcessVanished."""
    base = Path(f"/proc/{pid}")
    try:
        stat = (base / "stat").read_text(errors="replace")
        status = _status_fields((base / "status").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessVanished(pid) from gone
    comm = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    return ProcessFacts(
        pid=pid,
        start_ticks=int(fields[19]),
        comm=comm,
        state=fields[0],
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        tty_device=int(fields[4]) & 0xFFFFFFFF,
        foreground_pgid=int(fields[5]),
        threads=int(fields[17]),
        uids=_four(status["Uid"]),
        gids=_four(status["Gid"]),
        groups=tuple(int(word) for word in status.get("Groups", "").split()),
        tracer_pid=int(status.get("TracerPid", "0")),
        seccomp=int(status.get("Seccomp", "0")),
        locked_bytes=_kilobytes(status.get("VmLck", "0 kB")),
        rss_bytes=_kilobytes(status.get("VmRSS", "0 kB")),
        size_bytes=_kilobytes(status.get("VmSize", "0 kB")),
        policy=int(fields[38]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        kernel_thread="VmSize" not in status and fields[0] not in "ZX",
    )


def namespaces(pid: int | str) -> dict[str, int]:
    """Inode numbers of the process's namespaces, by name.  Raises ProcessVanished."""
    try:
        return {name: os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in _NAMESPACES}
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessVanished(int(pid) if str(pid).isdigit() else 0) from gone


def children(pid: int) -> list[int]:
    """PIDs whose parent is `pid` (zombies included), in ascending order.  Raises ProcessVanished."""
    found: set[int] = set()
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            found.update(int(word) for word in Path(f"/proc/{pid}/task/{tid}/children").read_text().split())
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessVanished(pid) from gone
    return sorted(found)


def boot_id() -> str:
    """The kernel's id of this boot; changes with every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _status_fields(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key: value.strip() for key, value in pairs}


def _four(text: str) -> tuple[int, int, int, int]:
    first, second, third, fourth = (int(word) for word in text.split())
    return first, second, third, fourth


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024
