"""A talking test program, dumped at home and restored in jails.

The program obeys one command per line on its stdin and answers each with one line, so tests wait for facts and never
for time. Everything started here is killed and reaped by `close`.
"""

import ast
import fcntl
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migrated.criu.dump import DumpRequest, run_dump, start_dump
from migrated.criu.kdat import ensure_kdat
from migrated.criu.page_server import start_page_server
from migrated.criu.place import find_criu
from migrated.jail.guest_cgroup import GuestCgroup
from migrated.jail.jail import Jail
from migrated.jail.spec import JailSpec

LIMIT_S = 40.0
# Not the one of the virtual environment, which another uid may not reach.
PYTHON = os.path.realpath(sys.executable)

PROGRAM = r"""
import mmap, os, signal, sys, threading, time
answers = os.fdopen(1, "w", buffering=1)
log = open(sys.argv[1], "r+", buffering=1)
beats = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 8)
secret = {"a": list(range(1000)), "b": os.urandom(1 << 20)}
check = hash(bytes(secret["b"])), sum(secret["a"])
signals = []
for number in (signal.SIGUSR1, signal.SIGUSR2, 40):
    signal.signal(number, lambda n, _: signals.append(n))
signal.pthread_sigmask(signal.SIG_BLOCK, [41])  # before there is a thread that would take it
def beat():
    n = 0
    while True:
        n += 1
        beats[:8] = n.to_bytes(8, "little")
        time.sleep(0.001)
threading.Thread(target=beat, daemon=True).start()
def ids():
    return dict(pid=os.getpid(), ppid=os.getppid(), pgid=os.getpgid(0), sid=os.getsid(0), uids=os.getresuid(),
                gids=os.getresgid(), groups=sorted(os.getgroups()), threads=len(os.listdir("/proc/self/task")),
                host=os.uname().nodename, nice=os.nice(0))
def family():
    # A child in a session of its own that ends with 5 when told, and a child of that, which outlives it.
    global child, grandchild, tell
    reader, tell = os.pipe()
    told, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        os.setsid()
        own = os.fork()
        if own == 0:
            signal.pause()
        os.write(said, str(own).encode())
        os.read(reader, 1)
        os._exit(5)
    os.close(reader)
    grandchild = int(os.read(told, 20))
    return child, grandchild
def end_child():
    os.close(tell)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def sane():
    return (hash(bytes(secret["b"])), sum(secret["a"])) == check
answers.write("ready\n")
for line in iter(sys.stdin.readline, ""):
    word, _, rest = line.strip().partition(" ")
    if word == "exit":
        os._exit(int(rest))
    if word == "die":
        signal.signal(int(rest), signal.SIG_DFL)
        os.kill(os.getpid(), int(rest))
    if word == "log":
        log.write(rest + "\n")
    answers.write(repr(eval(rest)) + "\n" if word == "eval" else "done\n")
"""


class Guest:
    """The program at home. `starter`: source of what gives it its parent. `tty`: becomes the controlling terminal of
    its session and stays open in it under this number.
    """

    def __init__(self, directory: Path, uid: int = 0, starter: str | None = None, tty: int | None = None) -> None:
        directory.chmod(0o777)
        self.directory, self.uid, self.tty = directory, uid, tty
        self.log, self.beats = directory / "log", directory / "beats"
        self.log.write_text("first\n")
        self.beats.write_bytes(bytes(8))
        for path in (self.log, self.beats):
            path.chmod(0o666)
        self.descendants: tuple[int, ...] = ()
        self.cgroup = GuestCgroup.create(f"{secrets.token_hex(8)}")
        self.stdin_read, self.to_guest = os.pipe()
        self.from_guest, self.stdout_write = os.pipe()
        argv = [PYTHON, "-I", "-c", PROGRAM, str(self.log), str(self.beats)]
        if starter is not None:
            argv = [PYTHON, "-I", "-c", starter, *argv]
        self._process = subprocess.Popen(
            argv,
            stdin=self.stdin_read,
            stdout=self.stdout_write,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            preexec_fn=self._become,
            pass_fds=() if tty is None else (tty,),
        )
        self.keys = [os.readlink(f"/proc/self/fd/{fd}") for fd in (self.stdin_read, self.stdout_write)]
        assert self.answer() == "ready"
        self.pid = int(self.ask("os.getpid()"))
        self.pidfd = os.pidfd_open(self.pid)

    def _become(self) -> None:
        os.setsid()
        if self.tty is not None:
            fcntl.ioctl(self.tty, termios.TIOCSCTTY, 1)
        if self.uid:
            os.setgroups([self.uid, 44])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(self.uid, self.uid, self.uid)

    def _family(self) -> list[int]:
        """Every process of the session the program was started in; nobody else can be in that."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if entry.name.isdigit() and int(fields[3]) == self._process.pid:
                found.append(int(entry.name))
        return found

    def say(self, line: str) -> None:
        os.write(self.to_guest, line.encode() + b"\n")

    def answer(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.from_guest], [], [], LIMIT_S)[0], f"no answer; got {line!r}"
            chunk = os.read(self.from_guest, 1)
            assert chunk, f"the program is gone; got {line!r}"
            line += chunk
        return line.decode().strip()

    def ask(self, expression: str) -> Any:
        self.say(f"eval {expression}")
        return ast.literal_eval(self.answer())

    def beat(self) -> int:
        return int.from_bytes(self.beats.read_bytes(), "little")

    def freeze(self) -> None:
        for pid in (self.pid, *self.descendants):
            (Path(self.cgroup.path) / "cgroup.procs").write_text(str(pid))
        self.cgroup.freeze(LIMIT_S)

    def dump(self, images: Path, external: list[str] | None = None, streamed: bool = False) -> None:
        """Freeze and dump it; it stays frozen."""
        self.freeze()
        images.mkdir(parents=True)
        request = DumpRequest(
            pid=self.pid,
            images_dir=str(images),
            uid=self.uid,
            gid=self.uid,
            freeze_cgroup=self.cgroup.path,
            external=external or [],
            timeout_s=60,
        )
        if not streamed:
            run_dump(request)
            return
        place = find_criu()
        ensure_kdat(place)
        with PageStream(images) as stream:
            request.page_server_fd = stream.fd
            start_dump(request, place).collect()

    def spec(self, work: Path, images: Path, **facts: Any) -> JailSpec:
        """The jail this program needs, with its own numbers."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ppid, pgid, sid = (int(field) for field in fields[1:4])
        values: dict[str, Any] = {
            "mid": secrets.token_hex(8),
            "pid": self.pid,
            "ppid": ppid,
            "pgid": pgid,
            "sid": sid,
            "uid": self.uid,
            "gid": self.uid,
            "work_dir": str(work),
            "images_dir": str(images),
            "root": "bind",
            "hostname": "home-of-the-guest",
        }
        return JailSpec(**(values | facts))

    def pipes(self) -> list[int]:
        return [self.stdin_read, self.stdout_write]

    def close(self) -> None:
        self.cgroup.thaw()
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for pid in (*self._family(), *self.descendants):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        select.select([self.pidfd], [], [], LIMIT_S)
        self._process.wait(LIMIT_S)
        os.close(self.pidfd)
        for fd in (self.stdin_read, self.to_guest, self.from_guest, self.stdout_write):
            os.close(fd)
        assert self.cgroup.remove(LIMIT_S)


def tty_key(fd: int) -> str:
    """CRIU's name for an external terminal."""
    status = os.fstat(fd)
    return f"tty[{status.st_rdev:x}:{status.st_dev:x}]"


class PageStream:
    """A page server on `images` and the socket a dump writes to, joined by a relay as the two nodes are."""

    def __init__(self, images: Path) -> None:
        self._near, near_relay = socket.socketpair()
        far_relay, far = socket.socketpair()
        self.server = start_page_server(str(images), far.fileno())
        far.close()
        self.fd = self._near.fileno()
        self._relays = [
            threading.Thread(target=_relay, args=pair) for pair in ((near_relay, far_relay), (far_relay, near_relay))
        ]
        self._sockets = [near_relay, far_relay]
        for relay in self._relays:
            relay.start()

    def __enter__(self) -> "PageStream":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._near.close()
        try:
            if kind is None:
                self.server.wait(LIMIT_S)
        finally:
            self.server.stop()
            for relay in self._relays:
                relay.join(LIMIT_S)
            for sock in self._sockets:
                sock.close()


def _relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(1 << 18):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def restore(jail: Jail, guest: Guest, keys: list[str] | None = None, **arguments: Any) -> None:
    """Up to the gate."""
    jail.wait_for("ready", timeout_s=LIMIT_S)
    jail.send("restore", fds=guest.pipes(), keys=keys or guest.keys, **arguments)
    event = jail.wait_for("gate", "restore-failed", "refused-op", timeout_s=LIMIT_S)
    assert event["ev"] == "gate", event


def release(jail: Jail) -> None:
    """From the gate on."""
    jail.send("go")
    event = jail.wait_for("restored", "restore-failed", timeout_s=LIMIT_S)
    assert event["ev"] == "restored", event


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that no descriptor announces."""
    pause = threading.Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen")
