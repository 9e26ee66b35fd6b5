"""Starting a restore so that the guest gets the right parent, session and group.

CRIU makes the guest a child of CRIU's own parent, in CRIU's session and group. Normally that parent is the
shepherd. Where the guest's parent was init but its session is another one, a launcher inside that session
starts CRIU and dies at the gate, so that PID 1, which is the shepherd then, inherits the guest.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any

from migrated.criu.place import CriuPlace
from migrated.criu.restore import RestoreRequest, start_restore

from . import kernel
from .chain import Chain, hold_group, start_session
from .pids import fork_as, fork_clear_of

_ADOPTION_LIMIT_S = 20.0


class Launch:
    """A restore under way, as the shepherd sees it."""

    def __init__(self, control: socket.socket, worker_pid: int, images_fd: int, holder_pid: int) -> None:
        self.control = control
        self.leash: int | None = None  # the launcher ends when this is closed
        self._worker_pid = worker_pid
        self._images_fd = images_fd
        self._holder_pid = holder_pid

    def receive(self) -> dict[str, Any]:
        """The driver's next message; {} when it is gone without one."""
        raw = self.control.recv(4096)
        message = json.loads(raw) if raw else {}
        return message if isinstance(message, dict) else {}

    def hand_over(self, guest_pid: int) -> None:
        """At the gate: let the launcher, if there is one, leave the guest to PID 1."""
        if self.leash is None:
            return
        os.close(self.leash)
        self.leash = None
        end_s = time.monotonic() + _ADOPTION_LIMIT_S
        while _parent_of(guest_pid) != 1:
            if time.monotonic() > end_s:
                raise TimeoutError("the guest did not get its parent")
            os.sched_yield()

    def wait_for_worker(self) -> None:
        """Wait until CRIU has cleaned up after a restore that came to nothing."""
        if self._worker_pid:
            try:
                os.waitpid(self._worker_pid, 0)
            except ChildProcessError:
                pass

    def close(self) -> None:
        """The restore is over: give back what it needed."""
        self.control.close()
        if self.leash is not None:
            os.close(self.leash)
        if self._images_fd >= 0:
            os.close(self._images_fd)
        if self._holder_pid:
            os.kill(self._holder_pid, signal.SIGKILL)


def launch(chain: Chain, place: CriuPlace, images_dir: str, keys: list[str], fds: list[int], taken: set[int]) -> Launch:
    """Start CRIU for the guest of `chain`. `fds` are handed in under `keys`; none of `taken` is used as a
    PID.
    """
    spec = chain.spec
    joins = spec.pgid not in (0, spec.pid)
    request = RestoreRequest(
        images_dir=images_dir,
        keys=keys,
        fds=fds,
        process_group=spec.pgid if joins else None,
        foreground_tty_fd=chain.tty_fd if spec.ctty and spec.foreground and spec.sid != spec.pid else None,
        foreground_pgid=spec.pgid,
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if chain.needs_launcher:
        started = Launch(ours, 0, -1, 0)
        started.leash = _start_launcher(chain, request, place, theirs, taken, joins)
        theirs.close()
        return started
    holder = 0
    if joins and spec.pgid not in (1, spec.ppid, spec.sid):
        holder = hold_group(spec.pgid)
    running = start_restore(request, place, theirs, fork_clear_of(taken))
    theirs.close()
    return Launch(ours, running.worker_pid, running.images_fd, holder)


def _start_launcher(
    chain: Chain,
    request: RestoreRequest,
    place: CriuPlace,
    control: socket.socket,
    taken: set[int],
    joins: bool,
) -> int:
    """Returns the leash."""
    spec = chain.spec
    reader, leash = os.pipe()
    leader = fork_as(spec.sid)
    if leader:
        os.close(reader)
        return leash
    try:
        os.close(leash)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        start_session(chain)
        holder = hold_group(spec.pgid) if joins and spec.pgid != spec.sid else 0
        if fork_clear_of(taken)() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            start_restore(request, place, control, fork_clear_of(taken))
            _wait_for_end(reader)
            if holder:
                os.kill(holder, signal.SIGKILL)
            os._exit(0)
        kernel.close_descriptors_except({0, 1, 2})
        while True:
            signal.pause()
    finally:
        os._exit(1)


def _wait_for_end(fd: int) -> None:
    """Block until the other end of the pipe is closed."""
    while os.read(fd, 1):
        pass


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])
