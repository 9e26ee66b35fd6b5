"""System calls that Python's os module lacks, by ctypes.

Owns: mounts (mount, umount2, open_tree, move_mount, pivot_root), setns, unshare, prctl, renameat2, fallocate,
utimensat, getdents64, setfsuid and setfsgid.
Each wrapper raises OSError with the kernel's errno; none of them keeps state or decides anything.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

CLONE_NEWNS: Final = 0x00020000
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2
PR_SET_DUMPABLE: Final = 4
PR_SET_SECUREBITS: Final = 28
PR_SET_NO_NEW_PRIVS: Final = 38
SECBIT_NO_SETUID_FIXUP: Final = 4

_libc: Final = ctypes.CDLL(None, use_errno=True)
_i: Final = ctypes.c_int
_u: Final = ctypes.c_uint
_l: Final = ctypes.c_long
_ul: Final = ctypes.c_ulong
_s: Final = ctypes.c_char_p
_p: Final = ctypes.c_void_p
_off: Final = ctypes.c_int64
_libc.mount.argtypes = [_s, _s, _s, _ul, _s]
_libc.umount2.argtypes = [_s, _i]
_libc.setns.argtypes = [_i, _i]
_libc.unshare.argtypes = [_i]
_libc.prctl.argtypes = [_i, _ul, _ul, _ul, _ul]
_libc.renameat2.argtypes = [_i, _s, _i, _s, _u]
_libc.fallocate64.argtypes = [_i, _i, _off, _off]
_libc.utimensat.argtypes = [_i, _s, _p, _i]
_libc.getdents64.argtypes = [_i, _p, ctypes.c_size_t]
_libc.getdents64.restype = ctypes.c_ssize_t
_libc.pivot_root.argtypes = [_s, _s]
_libc.syscall.restype = _l
_libc.setfsuid.argtypes = [_u]
_libc.setfsgid.argtypes = [_u]
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
"""System calls from 424 on have one number on every architecture."""
_TIMESPECS: Final = struct.Struct("=qqqq")


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


def mount(source: str, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    kind = fstype.encode() if fstype is not None else None
    options = os.fsencode(data) if data is not None else None
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), kind, flags, options), target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def clone_tree(path: str) -> int:
    """Descriptor of a copy, not yet attached anywhere, of everything mounted at and below `path` (open_tree(2))."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _check(_libc.syscall(_l(_SYS_OPEN_TREE), _l(_AT_FDCWD), _s(os.fsencode(path)), _l(flags)), path)


def attach_tree(tree_fd: int, target: str) -> None:
    """Mount what clone_tree() copied at `target` (move_mount(2))."""
    here, there = _s(b""), _s(os.fsencode(target))
    flags = _l(_MOVE_MOUNT_F_EMPTY_PATH)
    _check(_libc.syscall(_l(_SYS_MOVE_MOUNT), _l(tree_fd), here, _l(_AT_FDCWD), there, flags), target)


def pivot_root_here() -> None:
    """Make the working directory, a mount point, the root; what was mounted before is detached (pivot_root(2))."""
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    umount(".", MNT_DETACH)


def setns(fd: int, kind: int) -> None:
    """setns(2); for mount namespaces the caller must be single-threaded."""
    _check(_libc.setns(fd, kind), "setns")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(old_dir, old, new_dir, new, flags), "renameat2")


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    _check(_libc.fallocate64(fd, mode, offset, length), "fallocate")


def utimens(path: str, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """utimensat(2) on a path; pairs of seconds and nanoseconds, the latter may be UTIME_NOW or UTIME_OMIT."""
    times = _TIMESPECS.pack(*atime, *mtime)
    _check(_libc.utimensat(_AT_FDCWD, os.fsencode(path), times, 0), path)


def getdents(fd: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
    """getdents64(2): bytes filled, 0 at the end of the directory."""
    return _check(_libc.getdents64(fd, buffer, len(buffer)), "getdents64")


def set_fs_ids(uid: int, gid: int) -> None:
    """Identity that new files get. The kernel silently ignores what this process may not be."""
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
