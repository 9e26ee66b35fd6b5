"""The texts of `remote/PID/identity`, `stats` and `statm`.

Owns their lines (openmosix.md 4.5). Values come from this machine's /proc; a guest that leaves while it is
looked at is "no such process".
"""

from __future__ import annotations

from omdiscd.admin.interfaces import GuestHere
from omdiscd.admin.process_facts import no_such_process


def identity_text(guest: GuestHere) -> str:
    """Who the guest is at home. Raises MosixError `no-such-process`."""
    fields = _stat_fields(guest.pid)
    command = guest.command or fields[0]
    # The jail keeps PIDs, groups and sessions as they are at home; seen from here they have other numbers.
    lines = {
        "uid": guest.uid,
        "gid": guest.gid,
        "pid": guest.home_pid,
        "tgid": guest.home_pid,
        "pgrp": _inner(guest.pid, "NSpgid", guest.home_pid),
        "session": _inner(guest.pid, "NSsid", guest.home_pid),
        "nmigs": guest.nmigs,
        "command": command,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def stats_text(pid: int) -> str:
    """Times in clock ticks, sizes in bytes and pages. Raises MosixError `no-such-process`."""
    fields = _stat_fields(pid)
    lines = {
        "utime": fields[12],
        "cutime": fields[14],
        "nice": fields[17],
        "state": fields[1],
        "vsize": fields[21],
        "rss": fields[22],
        "nswap": fields[34],
        "cnswap": fields[35],
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def statm_text(pid: int) -> str:
    """Like /proc/PID/statm. Raises MosixError `no-such-process`."""
    return _read(pid, "statm")


def _stat_fields(pid: int) -> list[str]:
    line = _read(pid, "stat")
    closing = line.rfind(")")
    fields = [line[line.find("(") + 1 : closing], *line[closing + 2 :].split()]
    if len(fields) < 36:
        raise no_such_process(pid)
    return fields


def _inner(pid: int, name: str, default: int) -> int:
    for line in _read(pid, "status").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[-1])
    return default


def _read(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read(16384)
    except OSError:
        raise no_such_process(pid) from None
