"""The structures of the kernel's FUSE protocol: bytes to named tuples and back.

Owns: the layout of every structure used here. Pure and without state. Numbers are in the machine's own byte
order ("="), which every node of a cluster must share. Data that is too short raises WireError, nothing else.
"""

from __future__ import annotations

import struct
from typing import Any, Final, Generic, NamedTuple, TypeVar

Buffer = bytes | bytearray | memoryview

T = TypeVar("T", bound=tuple[Any, ...])


class WireError(ValueError):
    """A message that does not follow the protocol."""


class Layout(Generic[T]):
    """One structure of the protocol: pack() and unpack() between bytes and a named tuple."""

    __slots__ = ("_struct", "_type", "pack", "size")

    def __init__(self, form: str, kind: type[T]) -> None:
        self._struct = struct.Struct(form)
        self._type = kind
        self.size = self._struct.size
        self.pack = self._struct.pack

    def unpack(self, data: Buffer, offset: int = 0) -> T:
        """Fields found at `offset`; raises WireError when the data is too short."""
        try:
            fields = self._struct.unpack_from(data, offset)
        except struct.error as error:
            raise WireError(f"{self._type.__name__}: {error}") from None
        return self._type._make(fields)  # type: ignore[attr-defined,no-any-return]


class Header(NamedTuple):
    """Head of every request; `extlen` counts 8-byte units of extensions behind the body."""

    length: int
    opcode: int
    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int
    extlen: int


class ReplyHeader(NamedTuple):
    """Head of every reply: `error` is 0 or a negative errno; a notification has `unique` 0."""

    length: int
    error: int
    unique: int


class Attr(NamedTuple):
    """Attributes of an inode; times in seconds and nanoseconds, `rdev` as encode_dev() gives it."""

    ino: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int
    atimensec: int
    mtimensec: int
    ctimensec: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    blksize: int
    flags: int


class EntryHead(NamedTuple):
    """Reply to LOOKUP and its like, before the Attr; nodeid 0 caches the absence of the name."""

    nodeid: int
    generation: int
    entry_valid: int
    attr_valid: int
    entry_valid_nsec: int
    attr_valid_nsec: int


class AttrHead(NamedTuple):
    """Reply to GETATTR and SETATTR, before the Attr."""

    attr_valid: int
    attr_valid_nsec: int


class GetattrIn(NamedTuple):
    flags: int
    fh: int


class SetattrIn(NamedTuple):
    valid: int
    fh: int
    size: int
    lock_owner: int
    atime: int
    mtime: int
    ctime: int
    atimensec: int
    mtimensec: int
    ctimensec: int
    mode: int
    uid: int
    gid: int


class MknodIn(NamedTuple):
    mode: int
    rdev: int
    umask: int


class MkdirIn(NamedTuple):
    mode: int
    umask: int


class Rename2In(NamedTuple):
    newdir: int
    flags: int


class OpenIn(NamedTuple):
    flags: int
    open_flags: int


class CreateIn(NamedTuple):
    flags: int
    mode: int
    umask: int
    open_flags: int


class OpenOut(NamedTuple):
    fh: int
    open_flags: int
    backing_id: int


class ReleaseIn(NamedTuple):
    fh: int
    flags: int
    release_flags: int
    lock_owner: int


class FlushIn(NamedTuple):
    fh: int
    lock_owner: int


class ReadIn(NamedTuple):
    fh: int
    offset: int
    size: int
    read_flags: int
    lock_owner: int
    flags: int


class WriteIn(NamedTuple):
    fh: int
    offset: int
    size: int
    write_flags: int
    lock_owner: int
    flags: int


class One(NamedTuple):
    """A structure of a single number."""

    value: int


class StatfsOut(NamedTuple):
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    bsize: int
    namelen: int
    frsize: int


class FsyncIn(NamedTuple):
    fh: int
    fsync_flags: int


class SetxattrIn(NamedTuple):
    size: int
    flags: int


class FallocateIn(NamedTuple):
    fh: int
    offset: int
    length: int
    mode: int


class DirentHead(NamedTuple):
    """Entry of a directory, before its name; `off` is the position behind it."""

    ino: int
    off: int
    namelen: int
    type: int


class LseekIn(NamedTuple):
    fh: int
    offset: int
    whence: int


class CopyFileRangeIn(NamedTuple):
    fh_in: int
    off_in: int
    nodeid_out: int
    fh_out: int
    off_out: int
    length: int
    flags: int


class ForgetOne(NamedTuple):
    nodeid: int
    nlookup: int


class PollIn(NamedTuple):
    fh: int
    kh: int
    flags: int
    events: int


_ATTR: Final = "QQQQQQIIIIIIIIII"
HEADER: Final = Layout("=IIQQIIIH2x", Header)
REPLY_HEADER: Final = Layout("=IiQ", ReplyHeader)
ATTR: Final = Layout("=" + _ATTR, Attr)
ENTRY_HEAD: Final = Layout("=QQQQII", EntryHead)
ATTR_HEAD: Final = Layout("=QI4x", AttrHead)
GETATTR_IN: Final = Layout("=I4xQ", GetattrIn)
SETATTR_IN: Final = Layout("=I4xQQQQQQIIII4xII4x", SetattrIn)
MKNOD_IN: Final = Layout("=III4x", MknodIn)
MKDIR_IN: Final = Layout("=II", MkdirIn)
RENAME_IN: Final = Layout("=Q", One)
RENAME2_IN: Final = Layout("=QI4x", Rename2In)
LINK_IN: Final = Layout("=Q", One)
OPEN_IN: Final = Layout("=II", OpenIn)
CREATE_IN: Final = Layout("=IIII", CreateIn)
OPEN_OUT: Final = Layout("=QIi", OpenOut)
RELEASE_IN: Final = Layout("=QIIQ", ReleaseIn)
FLUSH_IN: Final = Layout("=Q8xQ", FlushIn)
READ_IN: Final = Layout("=QQIIQI4x", ReadIn)
WRITE_IN: Final = Layout("=QQIIQI4x", WriteIn)
WRITE_OUT: Final = Layout("=I4x", One)
STATFS_OUT: Final = Layout("=QQQQQIII28x", StatfsOut)
FSYNC_IN: Final = Layout("=QI4x", FsyncIn)
SETXATTR_IN: Final = Layout("=II", SetxattrIn)
GETXATTR_IN: Final = Layout("=I4x", One)
GETXATTR_OUT: Final = Layout("=I4x", One)
ACCESS_IN: Final = Layout("=I4x", One)
INTERRUPT_IN: Final = Layout("=Q", One)
FALLOCATE_IN: Final = Layout("=QQQI4x", FallocateIn)
DIRENT_HEAD: Final = Layout("=QQII", DirentHead)
LSEEK_IN: Final = Layout("=QQI4x", LseekIn)
LSEEK_OUT: Final = Layout("=Q", One)
COPY_FILE_RANGE_IN: Final = Layout("=QQQQQQQ", CopyFileRangeIn)
FORGET_IN: Final = Layout("=Q", One)
BATCH_FORGET_IN: Final = Layout("=I4x", One)
FORGET_ONE: Final = Layout("=QQ", ForgetOne)
POLL_IN: Final = Layout("=QQII", PollIn)
POLL_OUT: Final = Layout("=I4x", One)
