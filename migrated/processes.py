"""Starting the shims so that nothing of the daemon's end reaches them.

A shim has a session of its own, a cleared environment, absolute paths and no descriptor but its three; the daemon
watches it by a pidfd and reaps it, and init does when the daemon is gone.
"""

from __future__ import annotations

import asyncio
import os
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
    """The shims this daemon has started."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[subprocess.Popen[bytes] | None, int]] = {}

    async def start(self, module: str, specification: bytes, ended: Callable[[], None]) -> str:
        """Start `python -m module` and return its first line; `ended` is called when it is gone.

        Raises MosixError when it says nothing within START_TIMEOUT_S: it is killed then.
        """
        loop = asyncio.get_running_loop()
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        environment.update({name: os.environ[name] for name in _PASSED_ON if name in os.environ})
        shim = subprocess.Popen(  # noqa: ASYNC220 - the start is waited for below, without blocking
            [sys.executable, "-I", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
        assert shim.stdin is not None
        assert shim.stdout is not None
        pidfd = os.pidfd_open(shim.pid)
        self._running[shim.pid] = (shim, pidfd)
        loop.add_reader(pidfd, self._reap, shim.pid, ended)
        try:
            shim.stdin.write(specification)
            shim.stdin.close()
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await _first_line(shim.stdout.fileno())
        except (OSError, TimeoutError):
            line = b""
        finally:
            shim.stdout.close()
        if not line:
            shim.kill()
            raise MosixError("shim-failed", f"The process {module} did not start: see the system log.", 255)
        return line.decode(errors="replace").strip()

    def watch(self, pid: int, ended: Callable[[], None]) -> None:
        """Watch a shim that an earlier daemon started."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            ended()
            return
        self._running[pid] = (None, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._reap, pid, ended)

    def close(self) -> None:
        """Stop watching; the shims go on."""
        loop = asyncio.get_running_loop()
        for _, pidfd in self._running.values():
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._running.clear()

    def _reap(self, pid: int, ended: Callable[[], None]) -> None:
        shim, pidfd = self._running.pop(pid)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        if shim is not None:
            shim.wait()
        ended()


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
