"""Forking with a chosen PID, in a namespace where nobody else forks meanwhile.

The numbers come from home, so a parent, a session leader and a group must get exactly theirs, and our own
helpers (CRIU among them) must stay clear of all that the images use.
"""

from __future__ import annotations

import os
from collections.abc import Callable

HELPER_RUN = 64  # how many numbers a restore or dump may use for itself
_FIRST_HELPER_ID = 400
_NS_LAST_PID = "/proc/sys/kernel/ns_last_pid"


def fork_as(pid: int) -> int:
    """Fork a child with exactly this PID. Returns 0 in the child; OSError when the number is taken or too
    high.
    """
    _set_next(pid)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        return 0
    if child != pid:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise OSError(f"PID {pid} is taken in the namespace of {parent}")
    return child


def fork_clear_of(taken: set[int]) -> Callable[[], int]:
    """A fork whose children get PIDs from a run of numbers that holds none of `taken`."""

    def fork() -> int:
        _set_next(free_run(taken, pid_limit()))
        return os.fork()

    return fork


def free_run(taken: set[int], limit: int) -> int:
    """The start of HELPER_RUN numbers below `limit` that are free of `taken`: above all of them if there is
    room, else the lowest.
    """
    top = max(taken, default=0) + 1
    if max(top, _FIRST_HELPER_ID) + HELPER_RUN < limit:
        return max(top, _FIRST_HELPER_ID)
    start = _FIRST_HELPER_ID
    for number in sorted(taken):
        if number >= start + HELPER_RUN:
            break
        start = max(start, number + 1)
    return start


def pid_limit() -> int:
    """The first number this kernel does not give out."""
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        return int(file.read())


def _set_next(pid: int) -> None:
    with open(_NS_LAST_PID, "w", encoding="ascii") as file:
        file.write(str(pid - 1))
