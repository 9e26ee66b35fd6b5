"""Operations on the contents of regular files.

Appending is decided per write, not per descriptor: the kernel may write back a mapped page through a descriptor that
was opened for appending, and that page must land where it belongs.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from migrated.mfs import syscalls
from migrated.mfs.fuse_constants import (
    FSYNC_FDATASYNC,
    OPEN_KILL_SUIDGID,
    WRITE_CACHE,
    WRITE_KILL_SUIDGID,
    Opcode,
    OpenReply,
)
from migrated.mfs.fuse_structs import (
    COPY_FILE_RANGE_IN,
    CREATE_IN,
    FALLOCATE_IN,
    FLUSH_IN,
    FSYNC_IN,
    LSEEK_IN,
    LSEEK_OUT,
    OPEN_IN,
    OPEN_OUT,
    READ_IN,
    RELEASE_IN,
    WRITE_IN,
    WRITE_OUT,
    Header,
    WireError,
)
from migrated.mfs.nodes import Node
from migrated.mfs.ops_attributes import kill_suidgid
from migrated.mfs.session import REGULAR, OpenFile, Operation, Session, checked_name

_DROPPED: Final = (
    os.O_CREAT
    | os.O_EXCL
    | os.O_NOCTTY
    | os.O_NOFOLLOW
    | os.O_DIRECT
    | os.O_APPEND
    | os.O_SYNC
    | os.O_DSYNC
    | os.O_NONBLOCK
    | 0x20
)
"""Flags the kernel of the guest deals with itself, or that every single write repeats."""
COPY_MAX_BYTES: Final = 64 << 20
"""One COPY_FILE_RANGE request copies at most this much, so that it ends in a reasonable time."""


def _home_flags(session: Session, flags: int) -> int:
    flags &= ~_DROPPED
    if session.options.writeback and flags & os.O_ACCMODE == os.O_WRONLY:
        flags = flags & ~os.O_ACCMODE | os.O_RDWR
    return flags


def _opened(session: Session, fd: int) -> bytes:
    try:
        handle = session.new_handle()
    except OSError:
        os.close(fd)
        raise
    session.files[handle] = OpenFile(fd)
    return OPEN_OUT.pack(handle, OpenReply.KEEP_CACHE if session.options.keep_cache else 0, 0)


def open_(session: Session, header: Header, body: memoryview) -> bytes:
    wish = OPEN_IN.unpack(body)
    node = session.nodes.get(header.nodeid)
    if node.kind != REGULAR:
        raise OSError(errno.ENXIO, "only regular files are opened at home")
    flags = _home_flags(session, wish.flags)
    path = str(node.fd)
    try:
        fd = session.open_retrying(path, flags)
    except PermissionError as error:
        if error.errno != errno.EPERM or not wish.flags & os.O_APPEND:
            raise
        fd = session.open_retrying(path, flags | os.O_APPEND)
    if wish.open_flags & OPEN_KILL_SUIDGID and wish.flags & os.O_TRUNC:
        kill_suidgid(session, fd)
    return _opened(session, fd)


def create(session: Session, header: Header, body: memoryview) -> bytes:
    wish = CREATE_IN.unpack(body)
    name, _ = checked_name(body, CREATE_IN.size)
    parent = session.nodes.get(header.nodeid)
    session.create_as(header, wish.umask)
    flags = _home_flags(session, wish.flags) | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = session.open_retrying(name, flags | wish.flags & os.O_EXCL, wish.mode & 0o7777, parent.fd)
    return _created(session, fd, parent, name)


def tmpfile(session: Session, header: Header, body: memoryview) -> bytes:
    wish = CREATE_IN.unpack(body)
    parent = session.nodes.get(header.nodeid)
    session.create_as(header, wish.umask)
    flags = _home_flags(session, wish.flags) | os.O_TMPFILE | wish.flags & os.O_EXCL
    fd = session.open_retrying(str(parent.fd), flags, wish.mode & 0o7777)
    return _created(session, fd, parent, b"")


def _created(session: Session, fd: int, parent: Node, name: bytes) -> bytes:
    try:
        node, status = session.nodes.adopt_open(fd, parent, name)
        if node.kind != REGULAR:
            session.nodes.forget(node.id, 1)
            raise OSError(errno.ENXIO, "only regular files are opened at home")
    except OSError:
        os.close(fd)
        raise
    try:
        return session.entry(node, status) + _opened(session, fd)
    except OSError:
        session.nodes.forget(node.id, 1)
        raise


def read_into(session: Session, body: memoryview, room: memoryview) -> int:
    """READ straight into `room`; the number of bytes read. Raises WireError when `room` is too small."""
    wish = READ_IN.unpack(body)
    if wish.size > len(room):
        raise WireError("a read larger than agreed")
    return os.preadv(session.file(wish.fh).fd, [room[: wish.size]], wish.offset)


def write(session: Session, header: Header, body: memoryview) -> bytes:
    wish = WRITE_IN.unpack(body)
    data = body[WRITE_IN.size : WRITE_IN.size + wish.size]
    if len(data) != wish.size:
        raise WireError("a write shorter than announced")
    file = session.file(wish.fh)
    how = 0
    if not wish.write_flags & WRITE_CACHE:
        if wish.flags & os.O_APPEND:
            how = os.RWF_APPEND
        if wish.flags & os.O_SYNC == os.O_SYNC:
            how |= os.RWF_SYNC
        elif wish.flags & os.O_DSYNC:
            how |= os.RWF_DSYNC
    written = os.pwritev(file.fd, [data], wish.offset, how)
    if wish.write_flags & WRITE_KILL_SUIDGID:
        kill_suidgid(session, file.fd)
    return WRITE_OUT.pack(written)


def flush(session: Session, header: Header, body: memoryview) -> bytes:
    """Close of one of the guest's descriptors: network file systems report late errors here."""
    if not session.flush:
        raise OSError(errno.ENOSYS, "closing needs no word from home")
    os.close(os.dup(session.file(FLUSH_IN.unpack(body).fh).fd))
    return b""


def release(session: Session, header: Header, body: memoryview) -> bytes:
    file = session.files.pop(RELEASE_IN.unpack(body).fh, None)
    if file is not None:
        os.close(file.fd)
    return b""


def fsync(session: Session, header: Header, body: memoryview) -> bytes:
    wish = FSYNC_IN.unpack(body)
    fd = session.file(wish.fh).fd
    if wish.fsync_flags & FSYNC_FDATASYNC:
        os.fdatasync(fd)
    else:
        os.fsync(fd)
    return b""


def fallocate(session: Session, header: Header, body: memoryview) -> bytes:
    wish = FALLOCATE_IN.unpack(body)
    syscalls.fallocate(session.file(wish.fh).fd, wish.mode, wish.offset, wish.length)
    return b""


def lseek(session: Session, header: Header, body: memoryview) -> bytes:
    wish = LSEEK_IN.unpack(body)
    return LSEEK_OUT.pack(os.lseek(session.file(wish.fh).fd, wish.offset, wish.whence))


def copy_file_range(session: Session, header: Header, body: memoryview) -> bytes:
    wish = COPY_FILE_RANGE_IN.unpack(body)
    source, target = session.file(wish.fh_in), session.file(wish.fh_out)
    size = min(wish.length, COPY_MAX_BYTES)
    return WRITE_OUT.pack(os.copy_file_range(source.fd, target.fd, size, wish.off_in, wish.off_out))


OPERATIONS: Final[dict[int, Operation]] = {
    Opcode.OPEN: open_,
    Opcode.CREATE: create,
    Opcode.TMPFILE: tmpfile,
    Opcode.WRITE: write,
    Opcode.FLUSH: flush,
    Opcode.RELEASE: release,
    Opcode.FSYNC: fsync,
    Opcode.FALLOCATE: fallocate,
    Opcode.LSEEK: lseek,
    Opcode.COPY_FILE_RANGE: copy_file_range,
}
