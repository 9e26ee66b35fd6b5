"""A guest's jail, from the supervisor's side.

`Jail.start` forks the jail and returns at once: the FUSE file system of its root is only answered once the
caller runs its pump. All further talk is messages on `jail.sock` (SEQPACKET, JSON, descriptors beside it).
Synchronous; a caller with a loop watches `jail.sock` and calls `receive` when it is readable. Killing the
supervisor kills the jail.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from migrated.criu import libcriu
from migrated.criu.kdat import ensure_kdat
from migrated.criu.place import CriuPlace, find_criu
from omprotocol.errors import EXIT_FAILED, EXIT_TIMEOUT, MosixError
from omprotocol.paths import Paths

from . import kernel, wire
from .chain import Chain, run_top
from .guest_cgroup import GuestCgroup
from .root import IMAGES_DIR, WORK_DIR
from .runtime import gather, inside
from .shepherd import Shepherd
from .spec import JailSpec

_LOG_FILE = "jail.log"


class Jail:
    """A running jail. Made by `start`; always `kill` it in the end.

    Requests, by `send`:
      restore(keys, tty_keys, track) + one descriptor per entry of keys. tty_keys get the jail's terminal;
          track {key: a descriptor number of the guest, or [pid, number]} for the offsets
      go() · refuse()                          the answer at the gate
      signal(signo) · queue(siginfo)           siginfo: base64 of the 128 bytes
      foreground(value)                        whether its group is the terminal's foreground group
      dump(name, external, leave_running, timeout_s) [+ page stream]   into work_dir/name; freeze first
      offsets() · kill() SIGKILL to the guest · quit() end of the jail
    Events, by `receive`:
      init(pid) on this host, always first · ready(pid, tty_key) · failed(message)   the building of the jail
      gate(pid) complete, not one instruction run · restored(pid) it runs · refused() ·
      restore-failed(message, log)
      exit(status) · signaled(signo, core) · stopped(signo) · continued()      of the guest itself
      dumped(name, duration_s) · dump-failed(name, message, log) · offsets() · refused-op(op, message)
    exit and signaled carry user_s, system_s and others (PIDs of living descendants); these two, stopped,
    continued, dumped and offsets carry offsets {key: file position}. After refused, restore-failed or
    failed the jail is of no more use. tty_key is the terminal's external name for a dump.
    """

    def __init__(self, spec: JailSpec, sock: socket.socket, top_pid: int) -> None:
        self.spec = spec
        self.sock = sock
        self.top_pid = top_pid
        self.mounted = False  # the FUSE root is mounted; before that its descriptor is no connection
        self.init_pid: int | None = None
        self.tty_master_fd: int | None = None  # closed by kill, unless the caller has taken it and put None here
        self._init_pidfd: int | None = None
        self._cgroup: GuestCgroup | None = None
        self._waiting: deque[tuple[dict[str, Any], list[int]]] = deque()

    @classmethod
    def start(
        cls,
        spec: JailSpec,
        fuse_fd: int | None = None,
        tty_slave_fd: int | None = None,
        keep_fds: Sequence[int] = (),
        place: CriuPlace | None = None,
    ) -> Jail:
        """Fork the jail. All descriptors stay the caller's; the FUSE one is open nowhere in the jail once
        it is mounted. ValueError for a bad spec, MosixError without CRIU. What fails later comes as the
        event "failed".
        """
        spec.check()
        place = place or find_criu()
        os.makedirs(os.path.join(spec.work_dir, "root"), 0o700, exist_ok=True)
        cgroup = _cgroup_of(spec)
        if cgroup is not None:
            spec = msgspec.structs.replace(spec, freezer_dir=cgroup.path)
        runtime_dir = None
        if spec.root == "local":
            ensure_kdat(place)
        else:
            run_dir = str(Paths.from_environment().run_dir)
            os.makedirs(run_dir, 0o755, exist_ok=True)
            runtime_dir = gather(place, run_dir)
        libcriu.load(place.library)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor = os.getpid()
        top_pid = os.fork()
        if top_pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                keep = {theirs.fileno(), *keep_fds}
                keep.update(fd for fd in (fuse_fd, tty_slave_fd) if fd is not None)
                _own_stdio(spec.work_dir, keep)
                run_top(spec, theirs, fuse_fd, tty_slave_fd, runtime_dir, supervisor, _shepherd(place))
            finally:
                os._exit(1)
        theirs.close()
        jail = cls(spec, ours, top_pid)
        jail._cgroup = cgroup
        return jail

    def fileno(self) -> int:
        """The descriptor of `sock`."""
        return self.sock.fileno()

    def send(self, op: str, fds: Sequence[int] = (), **arguments: Any) -> None:
        """Send one request. MosixError("guest-gone") when the jail has ended."""
        try:
            wire.send(self.sock, {"op": op, **arguments}, list(fds))
        except OSError as error:
            raise MosixError("guest-gone", f"The jail of process {self.spec.pid} has ended.", EXIT_FAILED) from error

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], list[int]]:
        """The next event and its descriptors; waits for it. MosixError "guest-gone" when the jail has
        ended, "timeout" when nothing came.
        """
        if self._waiting:
            return self._waiting.popleft()
        return self._receive(timeout_s)

    def wait_for(self, *events: str, timeout_s: float) -> dict[str, Any]:
        """The next event that is one of these; others are kept for `receive`, in order. "failed" raises
        MosixError.
        """
        for index, (message, _) in enumerate(self._waiting):
            if message.get("ev") in events:
                del self._waiting[index]
                return message
        end_s = time.monotonic() + timeout_s
        while True:
            message, fds = self._receive(end_s - time.monotonic())
            if message.get("ev") in events:
                return message
            if message.get("ev") == "failed":
                raise self._no_jail(message)
            self._waiting.append((message, fds))

    def wait_mounted(self, timeout_s: float) -> None:
        """Wait until the FUSE root is mounted and wants to be answered. MosixError as in `wait_for`."""
        end_s = time.monotonic() + timeout_s
        while not self.mounted:
            message, fds = self._take(end_s - time.monotonic())
            if message.get("ev") == "failed":
                raise self._no_jail(message)
            if message.get("ev") != "mounted":
                self._waiting.append((message, fds))

    def _receive(self, timeout_s: float | None) -> tuple[dict[str, Any], list[int]]:
        while True:
            message, fds = self._take(timeout_s)
            if message.get("ev") != "mounted":
                return message, fds

    def _take(self, timeout_s: float | None) -> tuple[dict[str, Any], list[int]]:
        if timeout_s is not None and not select.select([self.sock], [], [], max(0.0, timeout_s))[0]:
            text = f"The jail of process {self.spec.pid} did not answer in time."
            raise MosixError("timeout", text, EXIT_TIMEOUT)
        message, fds = wire.receive(self.sock)
        if message is None:
            raise MosixError("guest-gone", f"The jail of process {self.spec.pid} has ended.", EXIT_FAILED)
        match message.get("ev"):
            case "mounted":
                self.mounted = True
            case "init":
                self.init_pid = int(message["pid"])
                try:
                    self._init_pidfd = os.pidfd_open(self.init_pid)
                except ProcessLookupError:
                    self._init_pidfd = None
            case "ready" if fds:
                self.tty_master_fd = fds.pop()
        return message, fds

    def _no_jail(self, message: dict[str, Any]) -> MosixError:
        text = f"No jail for process {self.spec.pid}: {message.get('message')}."
        return MosixError("no-jail", text, EXIT_FAILED)

    def host_pid(self, pid: int) -> int | None:
        """The PID on this host of the process (or thread) with this PID in the jail; None when there is
        none.
        """
        return self.host_pids().get(pid)

    def host_pids(self) -> dict[int, int]:
        """PID in the jail -> PID on this host, of everything in the jail (its own helpers too). Reads all
        of /proc.
        """
        if self.init_pid is None:
            return {}
        found = {}
        try:
            namespace = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino
        except OSError:
            return {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                if os.stat(f"/proc/{name}/ns/pid").st_ino != namespace:
                    continue
                with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                    numbers = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
            except (OSError, StopIteration):
                continue
            found[int(numbers[-1])] = int(name)
        return found

    def freeze(self, timeout_s: float = 10.0) -> None:
        """Stop the guest and all its descendants without a signal, from the gate on. MosixError "timeout"
        when they do not stop (they go on then), "no-freezer" where the node has none. A dump needs it and
        leaves it frozen.
        """
        self._freezer().freeze(timeout_s)

    def hold(self) -> None:
        """Have them stop as `freeze` does, without waiting: one that waits for home's files stops when it would
        return from that. MosixError "no-freezer", OSError.
        """
        self._freezer().hold()

    def thaw(self) -> None:
        """Let them go on. Idempotent."""
        self._freezer().thaw()

    def _freezer(self) -> GuestCgroup:
        if self._cgroup is None:
            text = f"This node has no cgroup that could stop process {self.spec.pid}."
            raise MosixError("no-freezer", text, EXIT_FAILED)
        return self._cgroup

    def family(self) -> list[int]:
        """PIDs on this host of the guest and its descendants, from the gate on."""
        return self._freezer().members() if self._cgroup is not None else []

    def kill(self, timeout_s: float = 20.0) -> bool:
        """End everything in the jail, reap it, remove its directories. Close the FUSE descriptor first if
        the home node may be gone: a guest that waits for it cannot die before. Idempotent. False when it
        would not die in time.
        """
        if self.top_pid == 0:
            return True
        self._kill_init()
        if self._cgroup is not None:
            with contextlib.suppress(OSError):
                self._cgroup.thaw()  # version 1 does not let a frozen process die
        gone = self._reap_top(timeout_s)
        if self._cgroup is not None:
            gone = self._cgroup.remove(timeout_s) and gone
        self.sock.close()
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        if self.tty_master_fd is not None:
            os.close(self.tty_master_fd)
            self.tty_master_fd = None
        if gone:
            self.top_pid = 0
            if self._init_pidfd is not None:
                os.close(self._init_pidfd)
                self._init_pidfd = None
            shutil.rmtree(self.spec.work_dir, ignore_errors=True)
        return gone

    def _kill_init(self) -> None:
        # Top dies of its own accord when init has; killing it kills init if that is not known yet.
        try:
            if self._init_pidfd is not None:
                signal.pidfd_send_signal(self._init_pidfd, signal.SIGKILL)
            else:
                os.kill(self.top_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _reap_top(self, timeout_s: float) -> bool:
        try:
            pidfd = os.pidfd_open(self.top_pid)
        except ProcessLookupError:
            return True
        try:
            if not select.select([pidfd], [], [], timeout_s)[0]:
                return False
            os.waitpid(self.top_pid, 0)
        except ChildProcessError:
            pass
        finally:
            os.close(pidfd)
        # A top that was killed does not wait for init; the namespace is gone when init is.
        return self._init_pidfd is None or bool(select.select([self._init_pidfd], [], [], timeout_s)[0])


def _cgroup_of(spec: JailSpec) -> GuestCgroup | None:
    if spec.freezer_dir is not None:
        return GuestCgroup(spec.freezer_dir)
    try:
        return GuestCgroup.create(spec.mid)
    except OSError:
        return None


def _shepherd(place: CriuPlace) -> Any:
    def run(chain: Chain) -> None:
        spec = chain.spec
        if spec.root == "local":
            Shepherd(chain, place, spec.images_dir, spec.work_dir).run()
        else:
            Shepherd(chain, inside(place), IMAGES_DIR, WORK_DIR).run()

    return run


def _own_stdio(work_dir: str, keep: set[int]) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    log = os.open(os.path.join(work_dir, _LOG_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, fd)
    kernel.close_descriptors_except(keep | {0, 1, 2})
