"""PID 1 of a virtual node: reaps, and starts programs on request.

Requests come over a SOCK_SEQPACKET unix socket that the machine outside can reach. A program started here
has its standard descriptors either from the caller (pipes) or opened inside the node: a descriptor opened
in another mount namespace could not be checkpointed. Never blocks on a caller, and a caller that goes
away hurts nobody.
"""

import array
import fcntl
import json
import os
import pwd
import selectors
import signal
import socket
import struct
import termios
from typing import Any, NoReturn

from omlab import kernel

REQUEST_BYTES_MAX = 1 << 17
# A caller passes the pipe that closes at exec, and at most three standard descriptors.
_PASSED_MAX = 4


class Init:
    """The loop of PID 1. `listener` is the request socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        # Caller of each running program, by PID in the node; only those that still listen.
        self._callers: dict[int, socket.socket] = {}
        self._tied: dict[socket.socket, int] = {}

    def run(self) -> NoReturn:
        """Serve until the node is killed from outside."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake_read, selectors.EVENT_READ, self._woken)
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)
            self._reap()

    def _woken(self, pipe: int) -> None:
        try:
            os.read(pipe, 4096)
        except BlockingIOError:
            pass

    def _accept(self, listener: socket.socket) -> None:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        caller.setblocking(False)
        self._selector.register(caller, selectors.EVENT_READ, self._receive)

    def _receive(self, caller: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(caller, REQUEST_BYTES_MAX, _PASSED_MAX)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data or caller in self._callers.values():
            self._drop(caller)
        else:
            self._start(caller, json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _drop(self, caller: socket.socket) -> None:
        self._selector.unregister(caller)
        caller.close()
        self._callers = {pid: other for pid, other in self._callers.items() if other is not caller}
        tied = self._tied.pop(caller, None)
        if tied is not None:
            _signal_group(tied, signal.SIGHUP)

    def _start(self, caller: socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
        master = -1
        terminal = -1
        try:
            if request.get("terminal"):
                master, terminal = os.openpty()
                rows, columns = request["terminal"]
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            pid = os.fork()
        except OSError as error:
            _send(caller, {"error": str(error)})
            return
        if pid == 0:
            _become(request, descriptors, terminal)
        self._callers[pid] = caller
        if request.get("tied"):
            self._tied[caller] = pid
        _send_started(caller, pid, master)
        for descriptor in (master, terminal):
            if descriptor >= 0:
                os.close(descriptor)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            caller = self._callers.get(pid)
            if caller is not None:
                self._tied.pop(caller, None)
                _send(caller, {"status": os.waitstatus_to_exitcode(status)})
                self._drop(caller)


def _send(caller: socket.socket, answer: dict[str, Any]) -> None:
    try:
        caller.send(json.dumps(answer).encode())
    except OSError:
        pass


def _send_started(caller: socket.socket, pid: int, master: int) -> None:
    # The kernel translates a PID in credentials into the numbering of the receiver.
    ancillary: list[tuple[int, int, Any]] = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", pid, 0, 0))]
    if master >= 0:
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master])))
    try:
        caller.sendmsg([json.dumps({"pid": pid}).encode()], ancillary)
    except OSError:
        pass


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def _become(request: dict[str, Any], passed: list[int], terminal: int) -> NoReturn:
    """In the child: turn into the requested program. Reports a failure on its standard error, status 127."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        user, home = request.get("user"), "/root"
        # The first one closes by itself when the program has taken over: the caller waits for that.
        started = fcntl.fcntl(passed[0], fcntl.F_DUPFD_CLOEXEC, 64)
        places = request["stdio"]
        if user:
            entry = pwd.getpwnam(user)
            home = entry.pw_dir
            if terminal >= 0:
                os.fchown(terminal, entry.pw_uid, 5)
            os.initgroups(user, entry.pw_gid)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        _take_descriptors(places, passed[1:], terminal)
        os.closerange(3, started)
        os.closerange(started + 1, 4096)
        if "terminal" in places:
            fcntl.ioctl(places.index("terminal"), termios.TIOCSCTTY, 0)
        environment = {"HOME": home, "USER": user or "root", "LOGNAME": user or "root", **request["environment"]}
        os.chdir(request.get("directory") or home)
        os.umask(0o022)
        kernel.reset_signals()
        os.execvpe(request["argv"][0], request["argv"], environment)
    except BaseException as error:
        os.write(2, f"omlab: cannot start {request['argv'][0]}: {error}\n".encode())
    os._exit(127)


def _take_descriptors(places: list[str], passed: list[int], terminal: int) -> None:
    """Make 0, 1 and 2 of what the request names: "terminal", "passed" (in order), or a path to open."""
    chosen = []
    for number, place in enumerate(places):
        if place == "terminal":
            chosen.append(terminal)
        elif place == "passed":
            chosen.append(passed.pop(0))
        else:
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
            chosen.append(os.open(place, flags, 0o644))
    # Out of the way first: one of them may itself be 0, 1 or 2.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64) for descriptor in chosen]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
