"""Facts about single processes of this machine from /proc: identity, owner, parents, program.

Owns the reading and parsing of `/proc/PID/stat`. A process that ends while it is looked at is "no such
process", never an exception of another kind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from omdiscd.core.admin_process import ProcessIdentity
from omprotocol.errors import EXIT_NOT_FOUND, MosixError

MAX_PARENTS = 64
"""How far up the family settings are looked for."""


class ProcessStat(NamedTuple):
    """One line of `/proc/PID/stat`, as far as it is needed."""

    identity: ProcessIdentity
    command: str
    state: str
    parent: int


def no_such_process(pid: int) -> MosixError:
    """The error for a PID that nobody has."""
    return MosixError("no-such-process", f"No such process ({pid}).", EXIT_NOT_FOUND)


def read_stat(pid: int) -> ProcessStat:
    """Facts of one process. Raises MosixError `no-such-process`."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            line = stat.read(4096).decode("utf-8", "replace")
    except OSError:
        raise no_such_process(pid) from None
    opening, closing = line.find("("), line.rfind(")")
    fields = line[closing + 2 :].split()
    if opening < 0 or len(fields) < 20:
        raise no_such_process(pid)
    return ProcessStat(ProcessIdentity(pid, int(fields[19])), line[opening + 1 : closing], fields[0], int(fields[1]))


def owner(pid: int) -> int:
    """Effective uid of a process; root's when nobody may look into it. Raises `no-such-process`."""
    try:
        return os.stat(f"/proc/{pid}").st_uid if pid > 0 else _refuse(pid)
    except OSError:
        raise no_such_process(pid) from None


def program(pid: int) -> str:
    """What identifies the program a process runs; empty when that cannot be read."""
    try:
        found = os.stat(f"/proc/{pid}/exe")
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def image(pid: int) -> str:
    """What changes with every exec, even of the same program: the program and where its stack begins."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read(4096).rpartition(b")")[2].split()
    except OSError:
        return ""
    return f"{program(pid)}:{fields[25].decode()}" if len(fields) > 25 else ""


def exists(pid: int) -> bool:
    """Whether this PID is somebody now."""
    return pid > 0 and os.path.exists(f"/proc/{pid}")


def process_of(pid: int) -> int:
    """The process that a thread belongs to; file system requests carry thread numbers. Raises MosixError."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status.read(4096).splitlines():
                if line.startswith(b"Tgid:"):
                    return int(line.split()[1])
    except OSError:
        pass
    raise no_such_process(pid)


def parents(pid: int) -> Iterator[ProcessIdentity]:
    """The parents of a process, nearest first, at most MAX_PARENTS; fewer when one ends meanwhile."""
    try:
        parent = read_stat(pid).parent
        for _ in range(MAX_PARENTS):
            if parent <= 0:
                return
            stat = read_stat(parent)
            yield stat.identity
            parent = stat.parent
    except MosixError:
        return


def all_pids() -> list[int]:
    """Every PID of this PID namespace now."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _refuse(pid: int) -> int:
    raise no_such_process(pid)
