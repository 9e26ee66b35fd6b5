"""A process that has everything loaded and becomes shims by fork: a shim starts in a millisecond, not in a third of
a second of CPU on a node that is busy.

Started by the daemon with a SEQPACKET socket as standard input.  One request is the name of a shim with its two
descriptors (specification, answer); the reply is the PID.  Ends when the daemon's end is closed; the shims go on.
Shims run at a higher priority than the jobs of users, since a move that starves freezes its process the longer.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

from migrated.shim import guest_main, home_main

PRIORITY = -10
SHIMS: dict[str, Callable[[], int]] = {"home": home_main.main, "guest": guest_main.main}
_REQUEST_BYTES = 64


def main() -> int:
    """Serve until the daemon is gone."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        pass  # a container without CAP_SYS_NICE: shims then compete like anybody
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the daemon watches shims by pidfd; nobody asks for their status
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=os.dup(0))
    while True:
        name, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 2)
        if not name:
            return 0
        pid = os.fork()
        if pid == 0:
            _become(name.decode(), requests, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(pid).encode())


def _become(name: str, requests: socket.socket, descriptors: list[int]) -> None:
    """Never returns."""
    status = 1
    try:
        requests.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        status = SHIMS[name]()
    except BaseException:
        logging.getLogger(__name__).exception("shim.failed", extra={"shim": name})
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
