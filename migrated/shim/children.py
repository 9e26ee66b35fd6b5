"""Processes that a shim forks for one blocking job: the page stream and the file server.

A child closes every descriptor it does not need (a kept copy of a pipe would hide its end), dies with the shim,
and ends by its exit status only; nothing of the shim's event loop runs in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from migrated.jail.kernel import close_descriptors_except, set_parent_death_signal

_log = logging.getLogger(__name__)
_POLL_S = 0.005


class Child:
    """A forked process with one job.  Owned by the shim's event loop."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name
        self.status: int | None = None

    async def wait(self, timeout_s: float) -> int:
        """Exit status, or minus the signal that ended it.  Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not self.ended():
                await asyncio.sleep(_POLL_S)
        assert self.status is not None
        return self.status

    def ended(self) -> bool:
        """Reap it if it has ended."""
        if self.status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.status = 0
                return True
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def kill(self) -> None:
        """End it now and reap it."""
        if self.ended():
            return
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)


def fork_child(name: str, keep: set[int], job: Callable[[], int]) -> Child:
    """Run `job` in a child that keeps only the descriptors in `keep` (and 2); its result is the exit status."""
    parent = os.getpid()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, name)
    status = 1
    try:
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for signo in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(signo, signal.SIG_DFL)
        close_descriptors_except(keep | {2})
        status = job()
    except BaseException:
        _log.exception("child.failed", extra={"child": name})
    finally:
        sys.stderr.flush()
        os._exit(status)
