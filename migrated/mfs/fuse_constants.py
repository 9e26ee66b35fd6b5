"""The numbers of the kernel's FUSE protocol 7.x (include/uapi/linux/fuse.h).

Owns: opcodes, notification codes and flag bits, each under the kernel's own name without its prefix.
Pure: no I/O, so that both the file server of MFS and the hpc tree can use it.
"""

from __future__ import annotations

import enum
from typing import Final

KERNEL_MAJOR: Final = 7
KERNEL_MINOR: Final = 45
"""Newest minor version whose structures this codec knows; the kernel adapts to the lower of the two."""
OLDEST_MINOR: Final = 31
"""Linux 5.4; older kernels use shorter structures."""

ROOT_ID: Final = 1
UNKNOWN_INO: Final = 0xFFFFFFFF
MIN_READ_BUFFER: Final = 8192
"""The kernel refuses to hand a request to a read() with a smaller buffer."""


class Opcode(enum.IntEnum):
    """Operation of a request."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


UNANSWERED: Final = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
"""Requests after which the kernel does not wait for an answer."""


class Notify(enum.IntEnum):
    """Code of an unsolicited message to the kernel (a reply with unique 0)."""

    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7
    INC_EPOCH = 8


class InitFlag(enum.IntFlag):
    """Capabilities offered and accepted in INIT; bits 32 and up travel in flags2."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42


class OpenReply(enum.IntFlag):
    """FOPEN_* flags of an open reply."""

    DIRECT_IO = 1
    KEEP_CACHE = 2
    NONSEEKABLE = 4
    CACHE_DIR = 8
    STREAM = 16
    NOFLUSH = 32
    PARALLEL_DIRECT_WRITES = 64
    PASSTHROUGH = 128


class SetattrValid(enum.IntFlag):
    """FATTR_* bits: which fields of a SETATTR request count."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


GETATTR_FH: Final = 1
WRITE_CACHE: Final = 1
"""Delayed write from the page cache; the file handle is only a guess of the kernel."""
WRITE_LOCKOWNER: Final = 2
WRITE_KILL_SUIDGID: Final = 4
OPEN_KILL_SUIDGID: Final = 1
FSYNC_FDATASYNC: Final = 1
RELEASE_FLUSH: Final = 1
RELEASE_FLOCK_UNLOCK: Final = 2
LK_FLOCK: Final = 1
FMODE_EXEC: Final = 0x20
"""In the flags of OPEN when the kernel opens a program to execute it."""
