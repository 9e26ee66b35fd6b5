"""Framing of the kernel's FUSE messages: whole requests, replies, names and directory entries.

Pure: it knows nothing of file systems, sockets or /dev/fuse. Messages are self-delimiting (the first four
bytes are the length), so the same bytes travel over any stream. A malformed message raises WireError.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import Final

from migrated.mfs.fuse_structs import (
    ATTR,
    BATCH_FORGET_IN,
    DIRENT_HEAD,
    ENTRY_HEAD,
    FORGET_ONE,
    HEADER,
    REPLY_HEADER,
    Buffer,
    ForgetOne,
    WireError,
)

_ATTR: Final = "QQQQQQIIIIIIIIII"
HEADER_BYTES: Final = HEADER.size
REPLY_HEADER_BYTES: Final = REPLY_HEADER.size
ENTRY_BYTES: Final = ENTRY_HEAD.size + ATTR.size
pack_entry: Final = struct.Struct("=QQQQII" + _ATTR).pack
"""EntryHead and Attr in one call: the 6 + 16 fields in order."""
pack_attr_out: Final = struct.Struct("=QI4x" + _ATTR).pack
"""AttrHead and Attr in one call: the 2 + 16 fields in order."""
_NO_ENTRY: Final = bytes(ENTRY_BYTES)


def message_length(data: Buffer, offset: int = 0) -> int:
    """Length in bytes, header included, of the message that starts at `offset` (4 bytes must be there)."""
    return int.from_bytes(data[offset : offset + 4], sys.byteorder)


def request(
    opcode: int, unique: int, nodeid: int, body: Buffer = b"", *, uid: int = 0, gid: int = 0, pid: int = 0
) -> bytes:
    """A whole request as the kernel would send it."""
    return HEADER.pack(HEADER_BYTES + len(body), opcode, unique, nodeid, uid, gid, pid, 0) + bytes(body)


def reply(unique: int, body: Buffer = b"") -> bytes:
    """A whole successful reply."""
    return REPLY_HEADER.pack(REPLY_HEADER_BYTES + len(body), 0, unique) + bytes(body)


def error_reply(unique: int, error: int) -> bytes:
    """A whole reply that makes the caller's system call fail with `error` (positive errno)."""
    return REPLY_HEADER.pack(REPLY_HEADER_BYTES, -error, unique)


def notification(code: int, body: Buffer = b"") -> bytes:
    """A whole unsolicited message (see fuse_constants.Notify)."""
    return REPLY_HEADER.pack(REPLY_HEADER_BYTES + len(body), code, 0) + bytes(body)


def name_at(body: Buffer, offset: int = 0) -> tuple[bytes, int]:
    """The zero-terminated name at `offset` and the offset behind its zero; raises WireError without one."""
    head, zero, _ = bytes(body[offset:]).partition(b"\0")
    if not zero:
        raise WireError("a name without its end")
    return head, offset + len(head) + 1


def forgets(body: Buffer) -> Iterator[ForgetOne]:
    """The single forgets inside the body of a BATCH_FORGET."""
    count = BATCH_FORGET_IN.unpack(body).value
    for index in range(count):
        yield FORGET_ONE.unpack(body, BATCH_FORGET_IN.size + index * FORGET_ONE.size)


def dirent(ino: int, off: int, kind: int, name: bytes) -> bytes:
    """One directory entry (READDIR), padded to 8 bytes; `kind` is DT_*."""
    return DIRENT_HEAD.pack(ino, off, len(name), kind) + name + bytes(-len(name) % 8)


def dirent_bytes(name: bytes) -> int:
    """Size of dirent() for this name; a READDIRPLUS entry is ENTRY_BYTES longer."""
    return (DIRENT_HEAD.size + len(name) + 7) & ~7


def dirent_plus(entry: bytes | None, ino: int, off: int, kind: int, name: bytes) -> bytes:
    """One entry of READDIRPLUS; `entry` None means "no lookup was made" (used for . and ..)."""
    return (entry or _NO_ENTRY) + dirent(ino, off, kind, name)


def encode_dev(major: int, minor: int) -> int:
    """Device number as the protocol carries it (the kernel's new_encode_dev: 12 + 20 bits)."""
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & 0xFFF00) << 12


def decode_dev(dev: int) -> tuple[int, int]:
    """(major, minor) of an encoded device number."""
    return (dev >> 8) & 0xFFF, (dev & 0xFF) | (dev >> 12) & 0xFFF00


def split_seconds(seconds: float) -> tuple[int, int]:
    """(seconds, nanoseconds) as validity times are carried; `seconds` >= 0."""
    whole = int(seconds)
    return whole, int((seconds - whole) * 1e9)
