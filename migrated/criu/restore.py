"""Restore a process tree inside the jail, up to a gate.

`start_restore` forks two children of its caller: the `criu swrk` (the restored root becomes its sibling,
that is the caller's own child) and a driver that makes the libcriu call and stands in CRIU's notifications.
At `post-restore` the copy is complete and has not run one instruction; the driver says "gate" and waits.
Only the answer GO lets it run; anything else, an end of the socket included, makes CRIU kill what it has
restored.

Driver to caller, JSON datagrams: {"at":"gate","pid":n,"helpers":[PIDs of the two]}, then
{"at":"done","pid":n} or {"at":"failed","ret":n,"errno":n,"function":s}. Caller to driver: GO or REFUSE,
once.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
from collections.abc import Callable

import msgspec

from migrated.jail import kernel

from . import libcriu
from .error import CriuError
from .place import CriuPlace
from .worker import start_worker, worker_socketpair

GO = b"go"
REFUSE = b"refuse"
LOG_FILE = "restore.log"


class RestoreRequest(msgspec.Struct, kw_only=True):
    """What to restore. Paths and descriptors as the caller has them."""

    images_dir: str
    keys: list[str] = []  # what the image calls it: "pipe:[7]", "tty[8803:17]", "socket:[9]", "home/u/file"
    fds: list[int] = []  # the descriptor handed in for each key
    process_group: int | None = None  # joined by CRIU, and so by a root that does not lead its own group
    foreground_tty_fd: int | None = None  # its foreground group is set to the root's before anything runs
    foreground_pgid: int = 0
    shell_job: bool = True
    file_locks: bool = True
    log_level: int = 4


class RunningRestore(msgspec.Struct):
    """A restore under way: the two children, to be reaped by the caller, and this end of the driver's
    socket.
    """

    worker_pid: int
    driver_pid: int
    images_fd: int  # CRIU opens it through /proc/<the caller>; to be closed when the restore is over


def start_restore(
    request: RestoreRequest,
    place: CriuPlace,
    driver_end: socket.socket,
    fork: Callable[[], int] = os.fork,
) -> RunningRestore:
    """Begin. `driver_end` is one end of a SEQPACKET socketpair, whose other end gets the messages; `fork`
    may choose PIDs that are not in the images. The libcriu must have been loaded before the root was
    changed.
    """
    library = libcriu.load(place.library)
    images_fd = os.open(request.images_dir, os.O_RDONLY | os.O_DIRECTORY)
    ours, theirs = worker_socketpair()
    options = ["--restore-sibling"]
    worker = start_worker(place, theirs, request.fds, options, process_group=request.process_group, fork=fork)
    theirs.close()
    driver = fork()
    if driver == 0:
        try:
            _drive(request, library, ours, driver_end, images_fd, worker)
        finally:
            os._exit(1)
    ours.close()
    return RunningRestore(worker, driver, images_fd)


def _drive(
    request: RestoreRequest,
    library: ctypes.CDLL,
    service: socket.socket,
    control: socket.socket,
    images_fd: int,
    worker_pid: int,
) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    keep = {0, 1, 2, service.fileno(), control.fileno()}
    if request.foreground_tty_fd is not None:
        keep.add(request.foreground_tty_fd)
    kernel.close_descriptors_except(keep)  # a copy here would keep a pipe of the guest's alive

    def tell(message: dict[str, object]) -> None:
        try:
            control.send(json.dumps(message).encode())
        except OSError:
            pass

    def on_stage(stage: str, pid: int) -> int:
        if stage == "post-restore":
            tell({"at": "gate", "pid": pid, "helpers": [worker_pid, os.getpid()]})
            return 0 if control.recv(16) == GO else -errno.ECANCELED
        if stage == "pre-resume" and request.foreground_tty_fd is not None:
            os.tcsetpgrp(request.foreground_tty_fd, request.foreground_pgid or os.getpgid(pid))
        return 0

    try:
        with libcriu.Request(library, service.detach()) as call:
            call.call("set_images_dir_fd", images_fd)
            call.call("set_log_file", LOG_FILE)
            call.call("set_log_level", request.log_level)
            call.call("set_shell_job", request.shell_job)
            call.call("set_file_locks", request.file_locks)
            call.call("set_manage_cgroups_mode", libcriu.CG_MODE_IGNORE)
            call.call("set_network_lock", libcriu.NETWORK_LOCK_SKIP)
            for key, fd in zip(request.keys, request.fds, strict=True):
                call.call("add_inherit_fd", fd, key)
            call.on_notify(on_stage)
            pid = call.perform("restore")
        tell({"at": "done", "pid": pid})
        os._exit(0)
    except CriuError as error:
        tell({"at": "failed", "ret": error.ret, "errno": error.errno, "function": error.function})
    except (OSError, ValueError) as error:
        tell({"at": "failed", "ret": -1, "errno": getattr(error, "errno", 0) or 0, "function": str(error)})
