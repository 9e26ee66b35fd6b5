"""The guest's parent inside the jail: restores it, passes signals on, reports what becomes of it.

One loop over the supervisor's socket, SIGCHLD and the CRIU children. The guest's death, stops and
continuations are read by waitid only while it runs on its own, so nothing is lost and nothing that CRIU
does to it is reported. When the supervisor's socket ends the shepherd ends, and the jail with it. The
messages are listed in migrated.jail.jail.
"""

from __future__ import annotations

import base64
import os
import resource  # noqa: F401 - os.wait4 imports it, and in the jail nothing can be imported
import select
import signal
from typing import Any

from migrated.criu import images
from migrated.criu.dump import DumpRequest, RunningDump, start_dump
from migrated.criu.error import CriuError, log_tail, plain_reason
from migrated.criu.place import CriuPlace
from migrated.criu.restore import GO, LOG_FILE, REFUSE
from omprotocol.errors import MosixError

from . import kernel, root, wire
from .chain import Chain
from .launch import Launch, launch
from .pids import fork_clear_of
from .terminal import external_key

_OUTSIDE, _RESTORING, _GATE, _RELEASED, _RUNNING, _DEAD = "outside", "restoring", "gate", "released", "running", "dead"


class Shepherd:
    """See the module. Runs in its own process, whose PID is the guest's PPID."""

    def __init__(self, chain: Chain, place: CriuPlace, images_dir: str, work_dir: str) -> None:
        self.chain = chain
        self.spec = chain.spec
        self.place = place
        self.images_dir = images_dir
        self.work_dir = work_dir
        self.state = _OUTSIDE
        self._launch: Launch | None = None
        self._dump: tuple[RunningDump, str] | None = None
        self._track: dict[str, Any] = {}
        self._tracked: dict[str, int] = {}
        self._held_signals: list[dict[str, Any]] = []
        self._taken: set[int] = set()
        self._helpers: set[int] = set()
        self._refused = False

    def run(self) -> None:
        """Serve until the supervisor is gone or says quit."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer)
        self._tell_ready()
        sock = self.chain.sock
        while True:
            watched = [reader, sock.fileno()]
            if self._launch is not None:
                watched.append(self._launch.control.fileno())
            if self._dump is not None:
                watched.append(self._dump[0].result_fd)
            ready = select.select(watched, [], [])[0]
            if reader in ready:
                os.read(reader, 4096)
            if self._launch is not None and self._launch.control.fileno() in ready:
                self._on_driver(self._launch)
            if self._dump is not None and self._dump[0].result_fd in ready:
                self._on_dump_end(*self._dump)
            self._reap()
            if sock.fileno() in ready:
                message, fds = wire.receive(sock)
                if message is None or message.get("op") == "quit":
                    os._exit(0)
                try:
                    self._on_request(message, fds)
                except (OSError, ValueError, KeyError, MosixError) as error:
                    self._tell("refused-op", op=str(message.get("op")), message=f"{error}")
                finally:
                    for fd in fds:
                        os.close(fd)
                self._reap()

    def _tell_ready(self) -> None:
        chain = self.chain
        key = external_key(chain.tty_fd) if chain.tty_fd is not None else None
        masters = [] if chain.tty_master is None else [chain.tty_master]
        wire.send(chain.sock, {"ev": "ready", "pid": os.getpid(), "tty_key": key}, masters)
        for fd in masters:
            os.close(fd)  # the supervisor's is the only one: its end is the terminal's hang-up
        chain.tty_master = None

    def _on_request(self, message: dict[str, Any], fds: list[int]) -> None:
        match message["op"]:
            case "restore":
                self._restore(message, fds)
            case "go" if self._launch is not None and self.state == _GATE:
                self.state = _RELEASED
                self._launch.control.send(GO)
            case "refuse" if self._launch is not None:
                self._refused = True
                self._launch.control.send(REFUSE)
            case "signal" | "queue":
                if self.state == _RUNNING:
                    self._signal(message)
                elif self.state != _DEAD:
                    self._held_signals.append(message)
            case "dump":
                self._start_dump(message, fds)
            case "offsets":
                self._tell("offsets", offsets=self._offsets())
            case "foreground" if self.chain.tty_fd is not None:
                group = self.spec.pgid if message["value"] else self.spec.sid
                os.tcsetpgrp(self.chain.tty_fd, group)
            case "kill":
                os.kill(self.spec.pid, signal.SIGKILL)
            case other:
                raise ValueError(f"{other} is not possible while the guest is {self.state}")

    def _restore(self, message: dict[str, Any], fds: list[int]) -> None:
        if self.state != _OUTSIDE:
            raise ValueError(f"the guest is {self.state} already")
        keys = [str(key) for key in message.get("keys", [])]
        tty_keys = [str(key) for key in message.get("tty_keys", [])]
        if len(keys) != len(fds) or (tty_keys and self.chain.tty_fd is None):
            raise ValueError("a descriptor of the guest is missing")
        fds = fds + [self.chain.tty_fd or 0] * len(tty_keys)
        self._track = dict(message.get("track", {}))
        images.forget_terminal_session(self.images_dir)
        spec = self.spec
        self._taken = images.taken_ids(self.images_dir) | {spec.pid, spec.ppid, spec.pgid, spec.sid}
        self._taken |= {os.getpid(), spec.highest_id()}
        self.state = _RESTORING
        self._launch = launch(self.chain, self.place, self.images_dir, keys + tty_keys, fds, self._taken)

    def _on_driver(self, running: Launch) -> None:
        message = running.receive()
        if message.get("at") == "gate" and self.state == _RESTORING:
            self._helpers.update(message["helpers"])
            running.hand_over(self.spec.pid)
            self._move_into_freezer()
            self._tracked = {key: self._copy_of(where) for key, where in self._track.items()}
            self.state = _GATE
            self._tell("gate", pid=self.spec.pid)
            return
        self._launch = None
        running.close()
        if message.get("at") == "done" and self.state == _RELEASED:
            self.state = _RUNNING
            self._tell("restored", pid=self.spec.pid)
            for held in self._held_signals:
                self._signal(held)
            self._held_signals.clear()
            return
        self.state = _DEAD
        running.wait_for_worker()
        if self._refused:
            self._tell("refused")
        else:
            log = log_tail(os.path.join(self.images_dir, LOG_FILE))
            self._tell("restore-failed", log=log, message=plain_reason(log) or str(message.get("function", "")))

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                break
            if ended.si_pid == self.spec.pid and self.state not in (_RUNNING, _DEAD):
                return  # CRIU's business until the restore is over
            _, _, usage = os.wait4(ended.si_pid, 0)
            if ended.si_pid == self.spec.pid and self.state == _RUNNING:
                self.state = _DEAD
                facts: dict[str, Any] = {
                    "offsets": self._offsets(),
                    "user_s": usage.ru_utime,
                    "system_s": usage.ru_stime,
                    "others": self._others(),
                }
                if ended.si_code == os.CLD_EXITED:
                    self._tell("exit", status=ended.si_status, **facts)
                else:
                    self._tell("signaled", signo=ended.si_status, core=ended.si_code == os.CLD_DUMPED, **facts)
        if self.state == _RUNNING:
            self._report_stops()

    def _report_stops(self) -> None:
        while True:
            try:
                change = os.waitid(os.P_PID, self.spec.pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
            except ChildProcessError:
                return
            if change is None:
                return
            if change.si_code == os.CLD_CONTINUED:
                self._tell("continued", offsets=self._offsets())
            elif change.si_code == os.CLD_STOPPED:
                self._tell("stopped", signo=change.si_status, offsets=self._offsets())

    def _signal(self, message: dict[str, Any]) -> None:
        pid = self.spec.pid
        try:
            if message["op"] == "signal":
                os.kill(pid, int(message["signo"]))
                return
            siginfo = base64.b64decode(message["siginfo"])
            signo = images.signal_number(siginfo)
            try:
                kernel.queue_signal(pid, signo, siginfo)
            except PermissionError:
                # A kernel's or a plain kill's siginfo cannot be forged, but its sender's user can be right.
                _kill_as(images.sender_uid(siginfo), pid, signo)
        except ProcessLookupError:
            pass  # its end is reported, or about to be

    def _start_dump(self, message: dict[str, Any], fds: list[int]) -> None:
        name = str(message["name"])
        if self.state != _RUNNING or self._dump is not None or "/" in name or name.startswith("."):
            raise ValueError(f"no dump is possible while the guest is {self.state}")
        target = os.path.join(self.work_dir, name)
        os.makedirs(target, 0o700, exist_ok=True)
        request = DumpRequest(
            pid=self.spec.pid,
            images_dir=target,
            uid=self.spec.uid,
            gid=self.spec.gid,
            freeze_cgroup=self._freezer_dir(),
            leave_running=bool(message.get("leave_running", True)),
            external=[str(key) for key in message.get("external", [])],
            page_server_fd=fds[0] if fds else None,
            timeout_s=int(message.get("timeout_s", 10)),
        )
        taken = self._taken | set(_all_pids())
        self._dump = start_dump(request, self.place, fork_clear_of(taken)), name

    def _on_dump_end(self, running: RunningDump, name: str) -> None:
        self._dump = None
        try:
            outcome = running.collect()
        except CriuError as error:
            self._tell("dump-failed", name=name, message=error.message, log=error.log_tail)
        else:
            self._tell("dumped", name=name, offsets=self._offsets(), duration_s=outcome.duration_s)

    def _freezer_dir(self) -> str | None:
        if self.spec.freezer_dir is None or self.spec.root == "local":
            return self.spec.freezer_dir
        return root.FREEZER_DIR

    def _move_into_freezer(self) -> None:
        directory = self._freezer_dir()
        if directory is None:
            return
        for task in images.tasks(self.images_dir):
            with open(os.path.join(directory, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(task.pid))

    def _copy_of(self, where: Any) -> int:
        """`where`: a descriptor number of the guest, or [PID, number] of one of its descendants."""
        pid, number = where if isinstance(where, list) else (self.spec.pid, where)
        pidfd = os.pidfd_open(int(pid))
        try:
            return kernel.pidfd_getfd(pidfd, int(number))
        finally:
            os.close(pidfd)

    def _offsets(self) -> dict[str, int]:
        return {key: os.lseek(fd, 0, os.SEEK_CUR) for key, fd in self._tracked.items()}

    def _others(self) -> list[int]:
        """The living processes of the jail that are neither the guest nor ours."""
        ours = {1, os.getpid(), self.spec.ppid, self.spec.pid} | self._helpers
        if self.spec.sid != self.spec.pid:
            ours.add(self.spec.sid)
        if self.spec.pgid != self.spec.pid:
            ours.add(self.spec.pgid)
        return sorted(set(_all_pids()) - ours)

    def _tell(self, event: str, **facts: Any) -> None:
        try:
            wire.send(self.chain.sock, {"ev": event, **facts})
        except OSError:
            os._exit(0)


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _kill_as(uid: int, pid: int, signo: int) -> None:
    """kill(2) whose receiver is told that `uid` sent it."""
    os.setresuid(uid, -1, -1)
    try:
        os.kill(pid, signo)
    finally:
        os.setresuid(0, -1, -1)
