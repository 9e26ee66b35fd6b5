"""State of one file server connection: options, nodes, open files, and the identity it acts under.

Owns: what the operations share, and the forms of answers common to several of them. The operations themselves
are in ops_*.py; each takes (session, header, body) and returns the body of the answer or raises OSError.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from migrated.mfs import syscalls
from migrated.mfs.fuse_constants import InitFlag
from migrated.mfs.fuse_structs import Header, WireError
from migrated.mfs.fuse_wire import encode_dev, name_at, pack_attr_out, pack_entry, split_seconds
from migrated.mfs.nodes import FD_MARGIN, Node, NodeTable

MAX_OPEN_FILES: Final = 1 << 20
DIRECTORY: Final = 0o040000
REGULAR: Final = 0o100000
_NS: Final = 1_000_000_000
_DEV_SHIFT: Final = 44
"""Directories of file systems other than the root's get their device in the upper bits of the inode number."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whose rights the file server has: numeric ids, supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Policy of a file server; times in seconds, sizes in bytes.

    entry_timeout_s, attr_timeout_s: how long the guest's kernel may believe names and attributes.
    keep_cache: file pages stay cached over open while size and mtime stay. writeback: only for trees nobody else
    writes to. flush: None decides by the file systems exported (close() reports errors only on network ones).
    max_fds: O_PATH descriptors, None takes it from the process's limit. heartbeat_s: while one request takes longer,
    the guest's node hears so often that this node is alive.
    """

    entry_timeout_s: float = 1.0
    attr_timeout_s: float = 1.0
    keep_cache: bool = True
    writeback: bool = False
    posix_acl: bool = True
    flush: bool | None = None
    max_write: int = 256 << 10
    max_readahead: int = 256 << 10
    max_fds: int | None = None
    request_timeout_s: int = 0
    heartbeat_s: float = 5.0


class OpenFile:
    """An open regular file of the guest."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd


class OpenDirectory:
    """An open directory: entries read ahead and the position before the next of them."""

    __slots__ = ("entries", "fd", "index", "node", "position")

    def __init__(self, fd: int, node: Node) -> None:
        self.fd = fd
        self.node = node
        self.position = 0
        self.index = 0
        self.entries: list[tuple[int, int, int, bytes]] = []


class Session:
    """One connection; `root_fd` (owned from now on) is the directory exported as root."""

    def __init__(self, root_fd: int, options: ServerOptions, *, flush: bool) -> None:
        self.options = options
        self.flush = flush
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self.privileged = self.uid == 0
        self.nodes = NodeTable(root_fd, options.max_fds)
        self.files: dict[int, OpenFile] = {}
        self.directories: dict[int, OpenDirectory] = {}
        self.flags = InitFlag(0)
        self._next_handle = 1
        os.umask(0)
        self._umask = 0
        self._fs_ids = (self.uid, self.gid)
        self._entry = split_seconds(options.entry_timeout_s)
        self._attr = split_seconds(options.attr_timeout_s)

    def close(self) -> None:
        """Close everything the guest had open."""
        for file in self.files.values():
            os.close(file.fd)
        for directory in self.directories.values():
            os.close(directory.fd)
        self.files.clear()
        self.directories.clear()
        self.nodes.close()

    def file(self, handle: int) -> OpenFile:
        """The open file; raises OSError EBADF."""
        file = self.files.get(handle)
        if file is None:
            raise OSError(errno.EBADF, "unknown file handle")
        return file

    def directory(self, handle: int) -> OpenDirectory:
        """The open directory; raises OSError EBADF."""
        directory = self.directories.get(handle)
        if directory is None:
            raise OSError(errno.EBADF, "unknown directory handle")
        return directory

    def new_handle(self) -> int:
        """A number no open file or directory of this connection has; raises OSError EMFILE."""
        if len(self.files) + len(self.directories) >= MAX_OPEN_FILES:
            raise OSError(errno.EMFILE, "too many open files")
        handle = self._next_handle
        self._next_handle += 1
        return handle

    def create_as(self, header: Header, umask: int) -> None:
        """Let files made next belong to the caller, with its umask, as far as this process may do that."""
        if umask != self._umask:
            os.umask(umask & 0o777)
            self._umask = umask
        ids = (header.uid, header.gid)
        if ids != self._fs_ids:
            syscalls.set_fs_ids(*ids)
            self._fs_ids = ids

    def open_retrying(self, path: str | bytes, flags: int, mode: int = 0, dir_fd: int | None = None) -> int:
        """os.open() that gives up idle O_PATH descriptors when the process has none left."""
        try:
            return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)
        except OSError as error:
            if error.errno != errno.EMFILE or not self.nodes.make_room(FD_MARGIN):
                raise
            return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd)

    def shown_ino(self, device: int, ino: int, kind: int) -> int:
        """Inode number the guest sees.

        Files keep their own, on every device: programs such as SQLite compare them before and after a migration.
        Directories of other devices are told apart, or tree walkers would take /home for a loop to /.
        """
        if kind != DIRECTORY or device == self.nodes.root_dev:
            return ino
        return (ino ^ (device & 0xFFFF) << _DEV_SHIFT) & 0x7FFFFFFFFFFFFFFF

    def attributes(self, st: os.stat_result) -> tuple[int, ...]:
        """The 16 fields of an Attr."""
        atime, mtime, ctime, mode = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns, st.st_mode
        rdev = st.st_rdev
        return (
            self.shown_ino(st.st_dev, st.st_ino, mode & 0o170000),
            st.st_size,
            st.st_blocks,
            atime // _NS & 0xFFFFFFFFFFFFFFFF,
            mtime // _NS & 0xFFFFFFFFFFFFFFFF,
            ctime // _NS & 0xFFFFFFFFFFFFFFFF,
            atime % _NS,
            mtime % _NS,
            ctime % _NS,
            mode,
            st.st_nlink,
            st.st_uid,
            st.st_gid,
            encode_dev(os.major(rdev), os.minor(rdev)) if rdev else 0,
            st.st_blksize,
            0,
        )

    def entry(self, node: Node, st: os.stat_result) -> bytes:
        """Answer of LOOKUP and of everything that makes a name."""
        entry, attr = self._entry, self._attr
        return pack_entry(node.id, 0, entry[0], attr[0], entry[1], attr[1], *self.attributes(st))

    def attr_out(self, st: os.stat_result) -> bytes:
        """Answer of GETATTR and SETATTR."""
        return pack_attr_out(*self._attr, *self.attributes(st))


Operation = Callable[[Session, Header, memoryview], bytes]


def checked_name(body: memoryview, offset: int) -> tuple[bytes, int]:
    """A name that is one path component, and the offset behind it; raises WireError."""
    name, end = name_at(body, offset)
    if not name or b"/" in name:
        raise WireError("not a file name")
    return name, end
