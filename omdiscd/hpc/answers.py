"""The answers of the hpc tree to single file system requests.

Owns inode numbers, open files and what an open file shows: its content as of the first read from the start,
like the kernel's own proc files. Knows nothing of descriptors and loops.
"""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Awaitable
from dataclasses import dataclass

from migrated.mfs import fuse_structs as fs
from migrated.mfs.fuse_constants import Opcode, OpenReply, SetattrValid
from migrated.mfs.fuse_wire import dirent, dirent_bytes, name_at, pack_attr_out, pack_entry
from omdiscd.hpc.inodes import Inodes
from omdiscd.hpc.tree import Content, Directory, Entry, File, Visitor, find

MAX_OPEN_FILES = 8192
"""Twice as many for root, so that strangers cannot take every place."""
MAX_NAME_BYTES = 255
_DT_DIR, _DT_REG = 4, 8
_HARMLESS = (
    SetattrValid.SIZE
    | SetattrValid.ATIME
    | SetattrValid.MTIME
    | SetattrValid.CTIME
    | SetattrValid.ATIME_NOW
    | SetattrValid.MTIME_NOW
    | SetattrValid.FH
    | SetattrValid.LOCKOWNER
)
_CHANGING = (
    Opcode.SYMLINK, Opcode.MKNOD, Opcode.MKDIR, Opcode.UNLINK, Opcode.RMDIR, Opcode.RENAME, Opcode.RENAME2,
    Opcode.LINK, Opcode.CREATE, Opcode.TMPFILE, Opcode.SETXATTR, Opcode.REMOVEXATTR, Opcode.FALLOCATE,
)  # fmt: skip


@dataclass(slots=True)
class OpenFile:
    """An open file or directory: what it shows, once it has been read."""

    content: bytes | None = None
    names: list[tuple[str, int]] | None = None


class Answers:
    """Answers about `root`. Methods raise OSError, or MosixError from the files themselves."""

    def __init__(self, root: Directory) -> None:
        self.inodes = Inodes()
        self._root = root
        self._open: dict[int, OpenFile] = {}
        self._next_handle = 1

    def look_up(self, parent: int, body: bytes, visitor: Visitor) -> bytes:
        """LOOKUP: an entry by name below a directory; nothing is cached."""
        raw, _ = name_at(body)
        if len(raw) > MAX_NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, "name too long")
        path = (*self.inodes.path(parent), raw.decode("utf-8", "surrogateescape"))
        entry = find(self._root, path, visitor)
        if entry is None:
            raise OSError(errno.ENOENT, "no such entry")
        number = self.inodes.look_up(path)
        return pack_entry(number, 0, 0, 0, 0, 0, *_attributes(number, entry))

    def attributes(self, number: int, visitor: Visitor) -> bytes:
        """GETATTR: mode and owner; the size is 0 as in /proc."""
        return pack_attr_out(0, 0, *_attributes(number, self._entry(number, visitor)))

    def set_attributes(self, number: int, valid: int, visitor: Visitor) -> bytes:
        """SETATTR: truncation and times are accepted without effect, the rest is not permitted."""
        if valid & ~int(_HARMLESS):
            raise OSError(errno.EPERM, "modes and owners are fixed")
        return self.attributes(number, visitor)

    def open(self, number: int, flags: int, wants_directory: bool, visitor: Visitor) -> bytes:
        """OPEN and OPENDIR. A direction the file does not have is EACCES."""
        entry = self._entry(number, visitor)
        if len(self._open) >= (MAX_OPEN_FILES if visitor.uid else 2 * MAX_OPEN_FILES):
            raise OSError(errno.ENFILE, "too many open files")
        reply_flags = 0
        if isinstance(entry, File):
            if wants_directory:
                raise OSError(errno.ENOTDIR, "a file")
            access = flags & os.O_ACCMODE
            if access != os.O_RDONLY and entry.write is None:
                raise OSError(errno.EACCES, "not for writing")
            if access != os.O_WRONLY and entry.read is None:
                raise OSError(errno.EACCES, "not for reading")
            reply_flags = int(OpenReply.DIRECT_IO)
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._open[handle] = OpenFile()
        return fs.OPEN_OUT.pack(handle, reply_flags, 0)

    def read(self, number: int, wanted: fs.ReadIn, visitor: Visitor) -> bytes | Awaitable[bytes]:
        """READ: from the content as it was when the reader began at the start."""
        opened = self._opened(wanted.fh)
        entry = self._entry(number, visitor)
        if not isinstance(entry, File) or entry.read is None:
            raise OSError(errno.EISDIR, "not a readable file")
        if opened.content is not None and wanted.offset > 0:
            return opened.content[wanted.offset : wanted.offset + wanted.size]
        content = entry.read(visitor)
        if isinstance(content, str | bytes):
            opened.content = _encoded(content)
            return opened.content[wanted.offset : wanted.offset + wanted.size]
        return self._read_later(opened, content, wanted)

    def write(self, number: int, body: memoryview, visitor: Visitor) -> bytes | Awaitable[bytes]:
        """WRITE: one order to the file. Raises what the file says to it."""
        head = fs.WRITE_IN.unpack(body)
        data = bytes(body[fs.WRITE_IN.size : fs.WRITE_IN.size + head.size])
        entry = self._entry(number, visitor)
        if not isinstance(entry, File) or entry.write is None:
            raise OSError(errno.EACCES, "not a writable file")
        done = entry.write(visitor, data.decode("latin-1"))
        written = fs.WRITE_OUT.pack(len(data))
        if done is None or not inspect.isawaitable(done):
            return written
        return _write_later(done, written)

    def list(self, number: int, wanted: fs.ReadIn, visitor: Visitor) -> bytes:
        """READDIR: as many entries as fit, from the list as it was when the reader began."""
        opened = self._opened(wanted.fh)
        if opened.names is None or wanted.offset == 0:
            directory = self._entry(number, visitor)
            if not isinstance(directory, Directory):
                raise OSError(errno.ENOTDIR, "not a directory")
            opened.names = [(".", _DT_DIR), ("..", _DT_DIR)]
            for name in directory.names(visitor):
                is_file = not directory.has_only_directories and isinstance(directory.entry(name, visitor), File)
                opened.names.append((name, _DT_REG if is_file else _DT_DIR))
        listed = bytearray()
        for position in range(wanted.offset, len(opened.names)):
            name, kind = opened.names[position]
            encoded = os.fsencode(name)
            if len(listed) + dirent_bytes(encoded) > wanted.size:
                break
            listed += dirent(1 + position, position + 1, kind, encoded)
        return bytes(listed)

    def release(self, handle: int) -> bytes:
        """RELEASE and RELEASEDIR."""
        self._open.pop(handle, None)
        return b""

    def refusal(self, opcode: int) -> int:
        """The errno for a request this tree has no answer to."""
        if opcode in _CHANGING:
            return errno.EPERM
        if opcode in (Opcode.GETXATTR, Opcode.LISTXATTR):
            return errno.EOPNOTSUPP
        return errno.ENOSYS

    def _entry(self, number: int, visitor: Visitor) -> Entry:
        entry = find(self._root, self.inodes.path(number), visitor)
        if entry is None:
            raise OSError(errno.ENOENT, "no such entry")
        return entry

    def _opened(self, handle: int) -> OpenFile:
        try:
            return self._open[handle]
        except KeyError:
            raise OSError(errno.EBADF, "not open") from None

    async def _read_later(self, opened: OpenFile, content: Awaitable[Content], wanted: fs.ReadIn) -> bytes:
        opened.content = _encoded(await content)
        return opened.content[wanted.offset : wanted.offset + wanted.size]


async def _write_later(done: Awaitable[None], written: bytes) -> bytes:
    await done
    return written


def _encoded(content: Content) -> bytes:
    return content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content


def _attributes(number: int, entry: Entry) -> tuple[int, ...]:
    links = 1 if isinstance(entry, File) else 2
    return (number, 0, 0, 0, 0, 0, 0, 0, 0, entry.full_mode, links, entry.uid, 0, 0, 4096, 0)
