"""Dump a process tree with libcriu, in a process of its own.

`run_dump` forks one helper: own session, the target's real uid where this kernel gives us no
CAP_SYS_RESOURCE, a `criu swrk` below it. Neither is ever killed by us: CRIU bounds the freezing by its
timeout, and a page stream whose other end closes ends the dump with an error. A failed dump leaves the
target as it was.

Pages: with `page_server_fd` (a connected AF_UNIX stream socketpair's end) all memory goes into that socket
as CRIU's page server protocol, which asks and answers, so relay both directions; nothing of it touches the
images directory.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec

from migrated.jail import kernel

from . import libcriu
from .error import CriuError, failure, log_tail
from .interrupted import begin_calls_again
from .kdat import ensure_kdat
from .place import CriuPlace, find_criu
from .timers import fire_lost_timers
from .worker import start_worker, worker_socketpair

CAP_SYS_RESOURCE = 24
DEFAULT_GHOST_LIMIT_BYTES = 64 << 20
_DIED = {"ret": -1, "errno": 0, "function": "criu_local_dump"}


class DumpRequest(msgspec.Struct, kw_only=True):
    """What to dump and how. `pid` and all paths as the caller sees them; the caller and the target share
    their mount, PID and network namespaces.
    """

    pid: int
    images_dir: str  # must exist; on a tmpfs
    uid: int = 0  # the target's real ids
    gid: int = 0
    freeze_cgroup: str | None = None  # the frozen cgroup that holds the whole tree; it is left frozen
    leave_running: bool = True
    external: list[str] = []  # "tty[rdev:dev]" (hex) and "unix[inode]", to be handed in again at the restore
    page_server_fd: int | None = None
    hold_fds: list[int] = []  # kept open by the helper for as long as it may touch the target: a lock, say
    ghost_limit_bytes: int = DEFAULT_GHOST_LIMIT_BYTES
    link_remap: bool = True
    file_locks: bool = True
    shell_job: bool = True
    timeout_s: int = 10  # CRIU's own: for freezing and collecting the tasks
    log_file: str = "dump.log"  # in images_dir
    log_level: int = 4


class DumpOutcome(msgspec.Struct, kw_only=True):
    """A finished dump."""

    images_dir: str
    duration_s: float


class RunningDump:
    """A dump under way: poll `result_fd` for readability, then `collect`."""

    def __init__(self, request: DumpRequest, pid: int, result_fd: int, started_s: float) -> None:
        self.request = request
        self.pid = pid
        self.result_fd = result_fd
        self._started_s = started_s

    def collect(self) -> DumpOutcome:
        """Wait for the end. CriuError when the dump failed: the target is then as it was before."""
        with open(self.result_fd, "rb") as pipe:
            raw = pipe.read()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # a caller that reaps everything was faster
        result: dict[str, Any] = json.loads(raw) if raw else dict(_DIED)
        if result["ret"] >= 0:
            begin_calls_again(self.request.images_dir)
            fire_lost_timers(self.request.images_dir, self.request.pid)
            return DumpOutcome(images_dir=self.request.images_dir, duration_s=time.monotonic() - self._started_s)
        tail = log_tail(os.path.join(self.request.images_dir, self.request.log_file))
        if result.get("message"):
            tail = tail or [str(result["message"])]
        what = f"dump process {self.request.pid}"
        raise failure(what, str(result["function"]), int(result["ret"]), int(result["errno"]), tail)


def run_dump(request: DumpRequest, place: CriuPlace | None = None) -> DumpOutcome:
    """Dump and wait for it. Blocks; CriuError when it failed, MosixError when there is no CRIU."""
    place = place or find_criu()
    ensure_kdat(place)
    return start_dump(request, place).collect()


def start_dump(request: DumpRequest, place: CriuPlace, fork: Callable[[], int] = os.fork) -> RunningDump:
    """Begin a dump; the kernel-feature cache must be in place. Returns at once."""
    libcriu.load(place.library)
    started_s = time.monotonic()
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        status = 1
        try:
            # A copy of any descriptor of the caller's here, the far end of the page stream above all, would keep
            # it open for the whole dump.
            kernel.close_descriptors_except({0, 1, 2, writer, *_stream(request), *request.hold_fds})
            os.setsid()
            for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(signo, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.write(writer, json.dumps(_dump_here(request, place)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    return RunningDump(request, pid, reader, started_s)


def _stream(request: DumpRequest) -> list[int]:
    return [] if request.page_server_fd is None else [request.page_server_fd]


def _dump_here(request: DumpRequest, place: CriuPlace) -> dict[str, object]:
    try:
        images_fd = os.open(request.images_dir, os.O_RDONLY | os.O_DIRECTORY)
        if request.uid != 0 and not _has_sys_resource():
            if request.freeze_cgroup:
                os.chmod(request.freeze_cgroup, 0o755)  # CRIU asks for it with access(2), by the real uid
            # prlimit(2) compares real ids: with the target's real and our effective ones CRIU may read its
            # limits.
            os.setresgid(request.gid, 0, 0)
            os.setresuid(request.uid, 0, 0)
        ours, theirs = worker_socketpair()
        inherit = _stream(request)
        options = []
        if request.page_server_fd is not None:
            options = ["--page-server", "--ps-socket", str(request.page_server_fd)]
        worker = start_worker(place, theirs, inherit, options)
        theirs.close()
        if request.page_server_fd is not None:
            os.close(request.page_server_fd)  # else the far end never sees CRIU's death
        try:
            with libcriu.Request(libcriu.load(place.library), ours.detach()) as call:
                _set_options(call, request, images_fd)
                return {"ret": call.perform("dump")}
        finally:
            _reap(worker)
    except CriuError as error:
        return {"ret": error.ret, "errno": error.errno, "function": error.function}
    except OSError as error:
        return {"ret": -1, "errno": error.errno or 0, "function": "dump", "message": str(error)}


def _set_options(call: libcriu.Request, request: DumpRequest, images_fd: int) -> None:
    call.call("set_pid", request.pid)
    call.call("set_images_dir_fd", images_fd)
    call.call("set_log_file", request.log_file)
    call.call("set_log_level", request.log_level)
    call.call("set_leave_running", request.leave_running)
    call.call("set_shell_job", request.shell_job)
    call.call("set_file_locks", request.file_locks)
    call.call("set_link_remap", request.link_remap)
    call.call("set_ghost_limit", request.ghost_limit_bytes)
    call.call("set_timeout", request.timeout_s)
    call.call("set_manage_cgroups_mode", libcriu.CG_MODE_IGNORE)
    call.call("set_network_lock", libcriu.NETWORK_LOCK_SKIP)  # live connections never travel, so nothing to lock
    if request.freeze_cgroup:
        call.call("set_freeze_cgroup", request.freeze_cgroup)
    for key in request.external:
        call.call("add_external", key)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def _has_sys_resource() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> CAP_SYS_RESOURCE & 1)
