"""Becoming a daemon, with the parent waiting for the verdict.

The command returns only when the daemon serves, or with its error, so that a start script sees the truth.
Must run before any thread or event loop exists.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def to_background() -> Callable[[str], None]:
    """Fork twice, start a session, go to /. Returns in the daemon only, with the function that reports to the
    waiting command: an empty text means success, anything else is printed and ends the command with status 1.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(write_fd)
        _wait_for_verdict(read_fd)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(read_fd)
    os.chdir("/")
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
    verdict_fd = [write_fd]

    def report(error: str) -> None:
        if verdict_fd:
            fd = verdict_fd.pop()
            os.write(fd, b"!" + error.encode() if error else b"+")
            os.close(fd)

    return report


def _wait_for_verdict(read_fd: int) -> None:
    verdict = b""
    while chunk := os.read(read_fd, 4096):
        verdict += chunk
    if verdict == b"+":
        os._exit(0)
    text = verdict[1:].decode("utf-8", "replace") or "it ended before it was ready: see the system's log"
    sys.stderr.write(f"omdiscd: {text}\n")
    sys.stderr.flush()
    os._exit(1)
