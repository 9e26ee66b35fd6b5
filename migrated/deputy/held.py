"""All threads of one process, seized and stopped together.

Owns the order in which a frozen process is seized, thawed and waited for. Releases every thread on failure.
"""

from __future__ import annotations

import contextlib

from migrated.deputy.error import ProcessGone
from migrated.deputy.freezer import Freezer
from migrated.deputy.mappings import read_threads
from migrated.deputy.ptrace import Tracee

# A thread that was asked to stop can be let go only once it has stopped.
_LATE_STOP_S = 2.0


def seize_all(pid: int, freezer: Freezer | None = None) -> list[Tracee]:
    """Stop every thread of `pid`; the main thread comes first. With `freezer` the process must be frozen, and is
    thawed once all threads are asked to stop, so that none runs an instruction.

    Raises ProcessGone, TimeoutError, PermissionError (somebody traces it) with nothing held, and frozen as before.
    """
    held: dict[int, Tracee] = {}
    try:
        # Threads may be born until all are stopped, so look until there is no new one.
        while new := [tid for tid in read_threads(pid) if tid not in held]:
            for tid in new:
                try:
                    # What was frozen must not run if we die: its copy may.
                    held[tid] = Tracee(tid, die_with_us=freezer is not None)
                    held[tid].interrupt()
                except ProcessGone:
                    held.pop(tid, None)
                    if tid == pid:
                        raise
            if freezer is not None:
                freezer.thaw()
            for tid in new:
                if tid in held:
                    _wait(held, tid, pid)
    except BaseException:
        _let_go(list(held.values()), freezer)
        raise
    if pid not in held:
        _let_go(list(held.values()), freezer)
        raise ProcessGone(pid)
    return [held[tid] for tid in sorted(held, key=lambda tid: (tid != pid, tid))]


def _wait(held: dict[int, Tracee], tid: int, pid: int) -> None:
    try:
        held[tid].wait_stopped()
    except ProcessGone:
        if tid == pid:
            raise
        del held[tid]


def _let_go(tracees: list[Tracee], freezer: Freezer | None) -> None:
    if freezer is not None:
        # A frozen thread cannot stop, and one that has not stopped cannot be let go.
        freezer.thaw()
        _wait_all(tracees)
        freezer.refreeze()
    release_all(tracees)


def _wait_all(tracees: list[Tracee]) -> None:
    for tracee in tracees:
        if not tracee.stopped:
            with contextlib.suppress(TimeoutError, ProcessGone):
                tracee.wait_stopped(_LATE_STOP_S)


def release_all(tracees: list[Tracee]) -> None:
    """Detach from all; a SIGSTOP met on the way is delivered."""
    _wait_all(tracees)
    # The main thread last: its end can be collected only when the others' have been.
    for tracee in reversed(tracees):
        tracee.detach(stop=bool(tracee.swallowed))
