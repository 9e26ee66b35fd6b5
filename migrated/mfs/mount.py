"""Mounting a FUSE file system without libfuse, and taking it away again.

Owns: opening /dev/fuse, mount(2) with the descriptor, detaching. The descriptor is the file system: when its
last copy is closed the kernel aborts the connection and every waiting process gets an error, none hangs.
It never touches a path below the mount point (that would wait for ourselves).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from migrated.mfs import syscalls

DEVICE: Final = "/dev/fuse"
_NOT_MOUNTED: Final = (errno.EINVAL, errno.ENOENT)


def open_device(*, nonblocking: bool = True) -> int:
    """A new descriptor of /dev/fuse (close-on-exec); each one carries at most one mount. Raises OSError."""
    return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | (os.O_NONBLOCK if nonblocking else 0))


def mount_fuse(
    fd: int,
    mountpoint: str | os.PathLike[str],
    *,
    fsname: str,
    subtype: str,
    flags: int = 0,
    max_read: int | None = None,
    allow_other: bool = True,
    default_permissions: bool = True,
    root_mode: int = stat.S_IFDIR,
) -> None:
    """Mount the file system behind `fd` (see open_device) at `mountpoint` as type fuse.<subtype>.

    flags: MS_* of mount(2). max_read in bytes. allow_other: users other than root may use it.
    default_permissions: the kernel checks mode bits. Returns before INIT is answered. Raises OSError.
    """
    options = [f"fd={fd}", f"rootmode={root_mode:o}", "user_id=0", "group_id=0"]
    if allow_other:
        options.append("allow_other")
    if default_permissions:
        options.append("default_permissions")
    if max_read is not None:
        options.append(f"max_read={max_read}")
    syscalls.mount(fsname, os.fspath(mountpoint), f"fuse.{subtype}", flags, ",".join(options))


def detach(mountpoint: str | os.PathLike[str]) -> bool:
    """Lazily unmount what is mounted at `mountpoint`; True when something was. Never waits for the server."""
    try:
        syscalls.umount(os.fspath(mountpoint), syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno in _NOT_MOUNTED:
            return False
        raise
    return True


def detach_stale(mountpoint: str | os.PathLike[str]) -> int:
    """Detach mounts left behind by a dead server at `mountpoint`; how many there were.

    Only mounts that answer ENOTCONN are taken away, so a living server is left alone (and must answer: it is asked).
    """
    count = 0
    while True:
        try:
            os.statvfs(mountpoint)
        except OSError as error:
            if error.errno != errno.ENOTCONN or not detach(mountpoint):
                return count
            count += 1
        else:
            return count


def abort(fd: int) -> None:
    """Close `fd`; when it is the last copy, users of the mount get ENOTCONN at once instead of waiting."""
    os.close(fd)
