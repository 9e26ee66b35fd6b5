"""One `criu swrk` process and its configuration.

CRIU is always a worker on a socketpair of ours: never a service, never found through PATH, never with a
configuration file of the machine. Options that libcriu has no setter for stand on its command line, which every
CRIU from 4.1 on keeps beneath what a request sets (setup_opts_from_req in criu/cr-service.c).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

from .place import CriuPlace


def worker_socketpair() -> tuple[socket.socket, socket.socket]:
    """(ours, the worker's). CRIU opens /proc/<creator of the pair>/fd/<images_dir_fd>: make the pair in the
    process that has the images directory open, and keep that process until the operation has begun.
    """
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def start_worker(
    place: CriuPlace,
    worker_end: socket.socket,
    inherit: Sequence[int],
    options: Sequence[str],
    *,
    process_group: int | None = None,
    fork: Callable[[], int] = os.fork,
) -> int:
    """Fork and exec the worker, with `options` on its command line, as a direct child; returns its PID. It has its
    socket, `inherit` and null stdio open, under the very same numbers, and nothing else. `process_group` is joined
    first (it must be of this session).
    """
    argv = place.command(*options, "swrk", str(worker_end.fileno()))
    environment = place.environment()
    keep = {worker_end.fileno(), *inherit}
    pid = fork()
    if pid:
        return pid
    try:
        if process_group is not None:
            os.setpgid(0, process_group)
        _only_inheritable(keep)
        os.execve(argv[0], argv, environment)
    finally:
        os._exit(127)


def _only_inheritable(keep: set[int]) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in keep:
            os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            try:
                os.set_inheritable(fd, fd in keep)
            except OSError:
                continue
