"""Names of files as the process itself sees them.

The kernel spells the paths in /proc/PID/maps, fd and cwd for whoever reads them. For a body in a jail, read
from outside, a file on a mount of the jail would get its name within that file system: right by luck where
the machine has one file system for everything, wrong on the next. So a child with the process's own root
reads them. Only reads; blocks for a few milliseconds, and does nothing special in the same mount namespace.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from migrated.deputy.error import ProcessGone

_READ_BYTES = 1 << 16


def read_own_text(pid: int, name: str) -> str:
    """A text file of /proc/PID, spelled for the process. Raises ProcessGone."""
    return os.fsdecode(_ask(pid, [], [name])[0])


def read_own_links(pid: int, names: Sequence[str]) -> list[str]:
    """Links of /proc/PID ("cwd", "fd/3"), spelled for the process. Raises ProcessGone when one is not there."""
    return [os.fsdecode(target) for target in _ask(pid, names, [])]


def _ask(pid: int, links: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    try:
        directory = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ProcessGone(pid) from error
    try:
        if os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino:
            return _read(directory, links, texts)
        return _read_in_its_root(pid, directory, links, texts)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(pid) from error
    finally:
        os.close(directory)


def _read(directory: int, links: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    found = [os.fsencode(os.readlink(name, dir_fd=directory)) for name in links]
    for name in texts:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            found.append(_read_all(descriptor))
        finally:
            os.close(descriptor)
    return found


def _read_in_its_root(pid: int, directory: int, links: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chroot(f"/proc/{pid}/root")
            rest = msgspec.msgpack.encode(_read(directory, links, texts))
            while rest:
                rest = rest[os.write(writer, rest) :]
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        answer = _read_all(reader)
    finally:
        os.close(reader)
        _, status = os.waitpid(child, 0)
    if status != 0:
        raise ProcessGone(pid)
    return msgspec.msgpack.decode(answer, type=list[bytes])


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, _READ_BYTES):
        parts.append(part)
    return b"".join(parts)
