"""Starting the shims so that nothing of the daemon's end reaches them.

A shim has a session of its own, a cleared environment, absolute paths and no descriptor but its three; it is forked
by a zygote that has its code loaded.  The daemon watches it by a pidfd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from omprotocol.errors import MosixError

START_TIMEOUT_S = 20.0
_PASSED_ON = (
    "OPENMOSIX_CRIU_DIR",
    "OPENMOSIX_SHIM_LOG",
    "OPENMOSIX_RUN_DIR",
    "OPENMOSIX_STATE_DIR",
    "OPENMOSIX_ETC_DIR",
)
_LINE_BYTES = 4096


class Shims:
    """The shims this daemon has started, by way of the zygote."""

    def __init__(self) -> None:
        self._running: dict[int, int] = {}
        self._zygote: _Zygote | None = None
        self._turn = asyncio.Lock()

    def prepare(self) -> None:
        """Start the zygote, so that the first shim need not wait for it.  Returns at once."""
        if self._zygote is None:
            self._zygote = _Zygote()

    async def start(self, name: str, specification: bytes, ended: Callable[[], None]) -> str:
        """Start the shim `name` ("home" or "guest") and return its first line; `ended` is called when it is gone.

        Raises MosixError when it says nothing within START_TIMEOUT_S: it is killed then.
        """
        line, pid = b"", 0
        theirs_in, ours_in = os.pipe2(os.O_CLOEXEC)
        ours_out, theirs_out = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours_in, False)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                pid = await self._fork(name, [theirs_in, theirs_out])
                self.watch(pid, ended)
                os.close(theirs_out)
                theirs_out = -1
                os.write(ours_in, specification)
                os.close(ours_in)
                ours_in = -1
                line = await _first_line(ours_out)
        except (OSError, TimeoutError):
            self._drop_zygote()
        finally:
            for descriptor in (theirs_in, ours_in, theirs_out, ours_out):
                if descriptor >= 0:
                    os.close(descriptor)
        if not line:
            if pid in self._running:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._running[pid], signal.SIGKILL)
            raise MosixError("shim-failed", f"The {name} shim did not start: see the system log.", 255)
        return line.decode(errors="replace").strip()

    async def _fork(self, name: str, descriptors: list[int]) -> int:
        async with self._turn:
            loop = asyncio.get_running_loop()
            self.prepare()
            assert self._zygote is not None
            socket.send_fds(self._zygote.requests, [name.encode()], descriptors)
            reply = await loop.sock_recv(self._zygote.requests, _LINE_BYTES)
            if not reply:
                raise OSError("the zygote has ended")
            return int(reply)

    def _drop_zygote(self) -> None:
        """The next start makes a new one."""
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None

    def watch(self, pid: int, ended: Callable[[], None]) -> None:
        """Call `ended` when the shim `pid`, of this daemon or an earlier one, is gone."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            ended()
            return
        self._running[pid] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._gone, pid, ended)

    def close(self) -> None:
        """Stop watching; the shims go on."""
        self._drop_zygote()
        loop = asyncio.get_running_loop()
        for pidfd in self._running.values():
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._running.clear()

    def _gone(self, pid: int, ended: Callable[[], None]) -> None:
        pidfd = self._running.pop(pid)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        ended()


class _Zygote:
    """The zygote of this daemon: a cleared environment and nothing of ours but one socket."""

    def __init__(self) -> None:
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.requests.setblocking(False)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        environment.update({name: os.environ[name] for name in _PASSED_ON if name in os.environ})
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "migrated.zygote"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
        theirs.close()

    def end(self) -> None:
        """End and reap it; the shims go on."""
        self.requests.close()
        self._process.kill()
        self._process.wait()


async def _first_line(fd: int) -> bytes:
    """One line of the pipe `fd`; empty at its end."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    line = b""
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES:
        readable = asyncio.Event()
        loop.add_reader(fd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(fd)
        try:
            part = os.read(fd, _LINE_BYTES)
        except BlockingIOError:
            continue
        if not part:
            break
        line += part
    return line if line.endswith(b"\n") else b""
