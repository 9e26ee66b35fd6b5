"""Reading directories.

Positions are the home file system's own, so that a process migrated in the middle of a directory goes on where it
was, on either node.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from migrated.mfs import syscalls
from migrated.mfs.fuse_constants import FSYNC_FDATASYNC, Opcode, OpenReply
from migrated.mfs.fuse_structs import FSYNC_IN, OPEN_OUT, READ_IN, RELEASE_IN, Header, WireError
from migrated.mfs.fuse_wire import ENTRY_BYTES, dirent, dirent_bytes, dirent_plus
from migrated.mfs.session import DIRECTORY, OpenDirectory, Operation, Session

_GETDENTS_BYTES: Final = 32 << 10
_MAX_READ_BYTES: Final = 1 << 20
_HEAD: Final = struct.Struct("=QqHB")
_DT_DIR: Final = 4
_DOTS: Final = (b".", b"..")


def opendir(session: Session, header: Header, body: memoryview) -> bytes:
    node = session.nodes.get(header.nodeid)
    fd = session.open_retrying(str(node.fd), os.O_RDONLY | os.O_DIRECTORY)
    try:
        handle = session.new_handle()
    except OSError:
        os.close(fd)
        raise
    session.directories[handle] = OpenDirectory(fd, node)
    keep = OpenReply.KEEP_CACHE | OpenReply.CACHE_DIR if session.options.keep_cache else 0
    return OPEN_OUT.pack(handle, keep, 0)


def releasedir(session: Session, header: Header, body: memoryview) -> bytes:
    directory = session.directories.pop(RELEASE_IN.unpack(body).fh, None)
    if directory is not None:
        os.close(directory.fd)
    return b""


def fsyncdir(session: Session, header: Header, body: memoryview) -> bytes:
    wish = FSYNC_IN.unpack(body)
    fd = session.directory(wish.fh).fd
    if wish.fsync_flags & FSYNC_FDATASYNC:
        os.fdatasync(fd)
    else:
        os.fsync(fd)
    return b""


def readdir(session: Session, header: Header, body: memoryview) -> bytes:
    return _read(session, body, plus=False)


def readdirplus(session: Session, header: Header, body: memoryview) -> bytes:
    return _read(session, body, plus=True)


def _read(session: Session, body: memoryview, *, plus: bool) -> bytes:
    wish = READ_IN.unpack(body)
    if wish.size > _MAX_READ_BYTES:
        raise WireError("a directory read larger than agreed")
    directory = session.directory(wish.fh)
    if wish.offset != directory.position or wish.offset == 0:
        os.lseek(directory.fd, wish.offset - ((wish.offset & 1 << 63) << 1), os.SEEK_SET)
        directory.entries = []
        directory.index = 0
        directory.position = wish.offset
    parts: list[bytes] = []
    room = wish.size
    extra = ENTRY_BYTES if plus else 0
    nodes = session.nodes
    parent = nodes.get(directory.node.id) if plus else directory.node
    while True:
        if directory.index >= len(directory.entries):
            directory.entries = _next_entries(session, directory)
            directory.index = 0
            if not directory.entries:
                break
        ino, position, kind, name = directory.entries[directory.index]
        size = dirent_bytes(name) + extra
        if size > room:
            break
        room -= size
        if plus:
            entry = None
            if name not in _DOTS and not nodes.crowded:
                try:
                    entry = session.entry(*nodes.lookup(parent, name))
                except OSError:
                    entry = None
            parts.append(dirent_plus(entry, ino, position, kind, name))
        else:
            parts.append(dirent(ino, position, kind, name))
        directory.index += 1
        directory.position = position
    return b"".join(parts)


def _next_entries(session: Session, directory: OpenDirectory) -> list[tuple[int, int, int, bytes]]:
    buffer = ctypes.create_string_buffer(_GETDENTS_BYTES)
    filled = syscalls.getdents(directory.fd, buffer)
    data = buffer.raw[:filled]
    device = directory.node.key[0]
    foreign = device != session.nodes.root_dev
    entries = []
    at = 0
    while at < filled:
        ino, position, length, kind = _HEAD.unpack_from(data, at)
        name = data[at + _HEAD.size : data.index(b"\0", at + _HEAD.size)]
        if foreign and kind == _DT_DIR:
            ino = session.shown_ino(device, ino, DIRECTORY)
        entries.append((ino, position & 0xFFFFFFFFFFFFFFFF, kind, name))
        at += length
    return entries


OPERATIONS: Final[dict[int, Operation]] = {
    Opcode.OPENDIR: opendir,
    Opcode.RELEASEDIR: releasedir,
    Opcode.FSYNCDIR: fsyncdir,
    Opcode.READDIR: readdir,
    Opcode.READDIRPLUS: readdirplus,
}
