"""The two processes of a connection, made by fork: file server at home, pump at the guest's node.

Owns: what a child keeps. A descriptor left open in it by accident would keep a connection alive that must end, so a
child keeps its standard streams and what it works on, nothing else. The caller reaps the children.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Final

from migrated.mfs.pump import STALL_S, PumpReason, Stream, pump
from migrated.mfs.server import serve
from migrated.mfs.session import ServerOptions
from migrated.mfs.view import View

_STATUS: Final = {
    PumpReason.UNMOUNTED: 0,
    PumpReason.HOME_GONE: 10,
    PumpReason.STALLED: 11,
    PumpReason.STOPPED: 12,
    PumpReason.BROKEN: 13,
}


def fork_server(stream: Stream, view: View, options: ServerOptions | None = None) -> int:
    """serve() in a child process; its pid. It exits 0 when the guest is gone, 1 when the view cannot be entered.

    The caller must close its own copy of `stream`. Raises OSError when there is no process to be had.
    """

    def work() -> int:
        serve(stream, view, options)
        return 0

    return _fork([stream.fileno()], work)


def fork_pump(fuse_fd: int, stream: Stream, stop_fd: int | None = None, *, stall_s: float | None = STALL_S) -> int:
    """pump() in a child process; its pid. Its exit status tells the reason, see pump_reason().

    The caller must close its own copies of `fuse_fd` and `stream`: the guest's processes are freed only when the
    last copy of `fuse_fd` is closed. Killing the child (also with SIGKILL) frees them too.
    """
    keep = [fuse_fd, stream.fileno()] + ([stop_fd] if stop_fd is not None else [])
    return _fork(keep, lambda: _STATUS[pump(fuse_fd, stream, stop_fd, stall_s=stall_s).reason])


def pump_reason(exit_status: int) -> PumpReason | None:
    """Why a child of fork_pump() ended; None when it was killed (a negative status) or had a defect."""
    return next((reason for reason, status in _STATUS.items() if status == exit_status), None)


def _fork(keep: Iterable[int], work: Callable[[], int]) -> int:
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _close_others({0, 1, 2, *keep})
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _close_others(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue
