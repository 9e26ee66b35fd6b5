"""One virtual node, as tests and the omlab command use it."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError, CompletedProcess
from typing import Any

from omlab import network, state
from omlab.process import NULL, PIPE, NodeProcess

DAEMON_LOG = "/var/log/omdiscd.log"
_CONTROL_SOCKET = "/run/openmosix/control"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Passed on from our own environment; TMPDIR and the like would point to places the node does not have.
_KEPT = ("LANG", "LC_ALL", "TERM", "OPENMOSIX_TEST_RUN")
_POLL_S = 0.02


class Node:
    """Node `number` of the cluster `lab`; `init` is its PID 1, `keeper_pid` the cluster's keeper."""

    def __init__(self, lab: str, number: int, init: state.Process, keeper_pid: int) -> None:
        self.lab = lab
        self.number = number
        self.address = network.address(number)
        self._init = init
        self._keeper_pid = keeper_pid
        self._daemon: NodeProcess | None = None

    def __repr__(self) -> str:
        return f"Node({self.lab}:{self.number})"

    def popen(
        self,
        argv: list[str],
        *,
        user: str | None = None,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> NodeProcess:
        """Start a program; keywords as for NodeProcess. `user` is a name ("om"), root by default."""
        request_socket = state.lab_directory(self.lab) / f"node{self.number}.socket"
        everything = {name: os.environ[name] for name in _KEPT if name in os.environ}
        commands = Path(sys.executable).parent
        everything |= {
            "PATH": f"{commands}:{_PATH}",
            "SHELL": "/bin/bash",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "OMLAB_NODE": str(self.number),
            **(environment or {}),
        }
        return NodeProcess(request_socket, argv, user=user, environment=everything, **options)

    def run(
        self,
        argv: list[str],
        *,
        user: str | None = None,
        check: bool = True,
        timeout_s: float = 60.0,
        data: bytes = b"",
        directory: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> "CompletedProcess[str]":
        """Run a program to its end, with its output as text. Blocks.

        Raises CalledProcessError (with both outputs in its text) when `check` and the status is not 0,
        TimeoutExpired, after having killed it, when it takes too long.
        """
        with self.popen(
            argv,
            user=user,
            directory=directory,
            environment=environment,
            stdin=PIPE if data else NULL,
            stdout=PIPE,
            stderr=PIPE,
        ) as process:
            done = process.completed(*process.communicate(data, timeout_s))
        if check and done.returncode != 0:
            error = CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            error.add_note(f"on {self}:\n{done.stdout}{done.stderr}")
            raise error
        return done

    def path_of(self, path: str) -> Path:
        """Where the machine outside finds a file of this node."""
        return Path(f"/proc/{self._init.pid}/root") / path.lstrip("/")

    @property
    def init_pid(self) -> int:
        """PID of the node's PID 1 on the machine."""
        return self._init.pid

    @property
    def enter(self) -> list[str]:
        """Command prefix that enters all of the node's namespaces; what it starts cannot be migrated."""
        return ["nsenter", "-t", str(self._init.pid), "-a", "--"]

    def link(self, state_wanted: str, loss_percent: float = 0.0) -> None:
        """Cut ("down"), mend ("up") or make lossy ("loss", percent of packets each way) the cable."""
        network.set_link(self._keeper_pid, self.number, state_wanted, loss_percent)

    def wait_for(self, predicate: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
        """Poll until the predicate gives something true, and return that. Raises TimeoutError naming `what`.

        The predicate's own errors count as "not yet"; the last one is named when time is up.
        """
        return wait_for(predicate, f"{what} on node {self.number}", timeout_s)

    def start_daemon(self, *, wait: bool = True, arguments: tuple[str, ...] = ("-n", "-i", "eth1")) -> NodeProcess:
        """Start omdiscd (log: DAEMON_LOG) and wait until it answers. Raises RuntimeError with its log."""
        command = str(Path(sys.executable).parent / "omdiscd")
        self._daemon = self.popen([command, *arguments], stdout=DAEMON_LOG, stderr=DAEMON_LOG)
        if wait:
            self.wait_for_daemon()
        return self._daemon

    def wait_for_daemon(self, timeout_s: float = 60.0) -> None:
        """Wait until the daemon's control socket accepts. Raises RuntimeError when the daemon ended."""

        def answers() -> bool:
            if self._daemon is not None and (status := self._daemon.poll()) is not None:
                raise RuntimeError(f"omdiscd ended with status {status} on {self}:\n{self.log()}")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(self.path_of(_CONTROL_SOCKET)))
            return True

        wait_for(answers, f"the daemon on node {self.number}", timeout_s, fatal=RuntimeError)

    def kill_daemon(self, number: int = signal.SIGKILL, timeout_s: float = 60.0) -> int:
        """Send the daemon a signal and wait for its end; returns its exit status (negative: signal)."""
        if self._daemon is None:
            raise RuntimeError(f"no daemon was started on {self} by this object")
        self._daemon.send_signal(number)
        status = self._daemon.wait(timeout_s)
        self._daemon.close()
        self._daemon = None
        return status

    @property
    def daemon(self) -> NodeProcess | None:
        """The daemon this object started."""
        return self._daemon

    def log(self) -> str:
        """The daemon's log so far."""
        try:
            return self.path_of(DAEMON_LOG).read_text(errors="replace")
        except OSError:
            return ""

    def processes(self) -> list[int]:
        """PIDs, as the node numbers them, of everything in the node (guests in jails of their own too)."""
        return sorted(int(name) for name in os.listdir(self.path_of("/proc")) if name.isdigit())


def wait_for(
    predicate: Callable[[], Any], what: str, timeout_s: float = 60.0, fatal: type[Exception] | None = None
) -> Any:
    """Poll until the predicate gives something true, and return that. Raises TimeoutError naming `what`.

    Errors of the predicate count as "not yet", except those of the type `fatal`.
    """
    end = time.monotonic() + timeout_s
    last: Exception | None = None
    while True:
        try:
            if found := predicate():
                return found
        except Exception as error:
            if fatal is not None and isinstance(error, fatal):
                raise
            last = error
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}" + (f" ({last})" if last else ""))
        time.sleep(_POLL_S)
