"""Pipes both of whose ends a process holds itself: they travel with the body, and come home to their own.

The original still has the pipe it left with.  When the body's copy is empty it is the same pipe again once what
the original's still holds, which the body has read long since, is thrown away.  One that holds bytes is a reason
to come home behind the deputy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios

from migrated.deputy.body_state import OpenFile
from migrated.survey.survey import Survey

_CHUNK_BYTES = 65536


def filled_pipes(pid: int) -> list[str]:
    """The links ("pipe:[7]") of the pipes of `pid` that hold bytes."""
    filled = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        with contextlib.suppress(OSError):
            link = os.readlink(path)
            if link.startswith("pipe:[") and link not in filled and _waiting_bytes(path):
                filled.add(link)
    return sorted(filled)


def pair_inner_pipes(
    pid: int, survey: Survey, body: list[OpenFile], relayed: set[str], filled: set[str]
) -> dict[str, int]:
    """The body's link of each empty pipe of its own -> a descriptor of the original's, emptied, for each end.

    Ends are told apart by number: the same descriptor must be an end of an inner pipe at home.
    """
    at_home = {entry.fd: entry for entry in survey.descriptors if entry.inode in survey.inner_pipes}
    pairs: dict[str, int] = {}
    partners: dict[str, int] = {}
    for file in body:
        own = at_home.get(file.fd)
        if file.kind != "pipe" or file.link in relayed or file.link in filled or own is None:
            continue
        if partners.setdefault(file.link, own.inode) != own.inode:
            pairs.pop(file.link, None)
            continue
        pairs.setdefault(file.link, file.fd)
        _throw_away(pid, file.fd)
    return pairs


def _waiting_bytes(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))
        return int(count)
    finally:
        os.close(descriptor)


def _throw_away(pid: int, number: int) -> None:
    descriptor = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with contextlib.suppress(BlockingIOError):
            while os.read(descriptor, _CHUNK_BYTES):
                pass
    finally:
        os.close(descriptor)
