"""Operations on what is known about a file: attributes, extended attributes, file system figures."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from migrated.mfs import syscalls
from migrated.mfs.fuse_constants import GETATTR_FH, Opcode, SetattrValid
from migrated.mfs.fuse_structs import (
    GETATTR_IN,
    GETXATTR_IN,
    GETXATTR_OUT,
    SETATTR_IN,
    SETXATTR_IN,
    STATFS_OUT,
    Header,
    SetattrIn,
    WireError,
)
from migrated.mfs.fuse_wire import name_at
from migrated.mfs.session import Operation, Session

_TIMES: Final = (SetattrValid.ATIME | SetattrValid.MTIME | SetattrValid.ATIME_NOW | SetattrValid.MTIME_NOW).value
_OWNER: Final = (SetattrValid.UID | SetattrValid.GID).value
_KEEP: Final = (0, syscalls.UTIME_OMIT)
_NOW: Final = (0, syscalls.UTIME_NOW)
_SIGN: Final = 1 << 63
_V: Final = SetattrValid


def getattr_(session: Session, header: Header, body: memoryview) -> bytes:
    wish = GETATTR_IN.unpack(body)
    if wish.flags & GETATTR_FH:
        file = session.files.get(wish.fh)
        if file is not None:
            return session.attr_out(os.stat(file.fd))
    return session.attr_out(session.nodes.status(header.nodeid))


def setattr_(session: Session, header: Header, body: memoryview) -> bytes:
    wish = SETATTR_IN.unpack(body)
    valid = wish.valid
    node = session.nodes.get(header.nodeid)
    path = str(node.fd)
    if valid & _V.MODE:
        os.chmod(path, wish.mode & 0o7777)
    if valid & _OWNER:
        os.chown(path, wish.uid if valid & _V.UID else -1, wish.gid if valid & _V.GID else -1)
    if valid & _V.SIZE:
        if valid & _V.FH and wish.fh in session.files:
            os.ftruncate(session.files[wish.fh].fd, wish.size)
        else:
            os.truncate(path, wish.size)
        if valid & _V.KILL_SUIDGID:
            kill_suidgid(session, path)
    if valid & _TIMES:
        syscalls.utimens(path, *_times(wish))
    return session.attr_out(os.stat(node.fd))


def _times(wish: SetattrIn) -> tuple[tuple[int, int], tuple[int, int]]:
    valid = wish.valid
    atime = mtime = _KEEP
    if valid & _V.ATIME_NOW:
        atime = _NOW
    elif valid & _V.ATIME:
        atime = (wish.atime - 2 * (wish.atime & _SIGN), wish.atimensec)
    if valid & _V.MTIME_NOW:
        mtime = _NOW
    elif valid & _V.MTIME:
        mtime = (wish.mtime - 2 * (wish.mtime & _SIGN), wish.mtimensec)
    return atime, mtime


def kill_suidgid(session: Session, path: str | int) -> None:
    """Drop set-uid and set-gid as a write by an ordinary user does; for such a server the kernel did it already."""
    if not session.privileged:
        return
    mode = os.stat(path).st_mode
    kept = mode & ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        kept &= ~stat.S_ISGID
    if kept != mode:
        os.chmod(path, kept & 0o7777)


def statfs(session: Session, header: Header, body: memoryview) -> bytes:
    v = os.statvfs(session.nodes.get(header.nodeid).fd)
    return STATFS_OUT.pack(v.f_blocks, v.f_bfree, v.f_bavail, v.f_files, v.f_ffree, v.f_bsize, v.f_namemax, v.f_frsize)


def getxattr(session: Session, header: Header, body: memoryview) -> bytes:
    size = GETXATTR_IN.unpack(body).value
    name, _ = name_at(body, GETXATTR_IN.size)
    return _sized(os.getxattr(session.nodes.path(header.nodeid), name), size)


def listxattr(session: Session, header: Header, body: memoryview) -> bytes:
    size = GETXATTR_IN.unpack(body).value
    names = os.listxattr(session.nodes.path(header.nodeid))
    return _sized(b"".join(os.fsencode(name) + b"\0" for name in names), size)


def _sized(value: bytes, size: int) -> bytes:
    if size == 0:
        return GETXATTR_OUT.pack(len(value))
    if len(value) > size:
        raise OSError(errno.ERANGE, "the buffer is too small")
    return value


def setxattr(session: Session, header: Header, body: memoryview) -> bytes:
    wish = SETXATTR_IN.unpack(body)
    name, end = name_at(body, SETXATTR_IN.size)
    value = bytes(body[end : end + wish.size])
    if len(value) != wish.size:
        raise WireError("an attribute shorter than announced")
    os.setxattr(session.nodes.path(header.nodeid), name, value, wish.flags)
    return b""


def removexattr(session: Session, header: Header, body: memoryview) -> bytes:
    name, _ = name_at(body)
    os.removexattr(session.nodes.path(header.nodeid), name)
    return b""


OPERATIONS: Final[dict[int, Operation]] = {
    Opcode.GETATTR: getattr_,
    Opcode.SETATTR: setattr_,
    Opcode.STATFS: statfs,
    Opcode.GETXATTR: getxattr,
    Opcode.LISTXATTR: listxattr,
    Opcode.SETXATTR: setxattr,
    Opcode.REMOVEXATTR: removexattr,
}
