"""System calls that Python 3.11 has no function for: namespaces, mounts, process control, descriptors of
others.

Thin and synchronous: each function is one call and raises OSError with the errno and the thing it was done
to. The library is the C library already loaded with the interpreter, so nothing here opens a file after
import; that matters in the jail, where the file system no longer is this node's own.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_SYS_PIVOT_ROOT = 155  # x86-64, as the whole deputy is
_SYS_PIDFD_GETFD = 438
_SYS_RT_SIGQUEUEINFO = 129
_SYS_RT_TGSIGQUEUEINFO = 297

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Put the caller (its future children for CLONE_NEWPID) into new namespaces."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). For a FUSE file system it returns before the other end has answered anything."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, f"mount {source} on {target}")


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(flags)), f"unmount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2); both may be "." (the old root is then stacked on the new one)."""
    _check(_libc.syscall(_SYS_PIVOT_ROOT, new_root.encode(), put_old.encode()), f"pivot_root {new_root}")


def set_parent_death_signal(signo: int) -> None:
    """Ask for `signo` when the thread that forked the caller ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signo), 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A descriptor of the caller for the same open file description as `fd` of the process behind `pidfd`."""
    return _check(_libc.syscall(_SYS_PIDFD_GETFD, pidfd, fd, 0), f"pidfd_getfd {fd}")


def queue_signal(pid: int, signo: int, siginfo: bytes) -> None:
    """rt_sigqueueinfo(2) with a complete 128-byte siginfo. A plain kill's code (>= 0 or -6) is refused by
    the kernel.
    """
    _check(_libc.syscall(_SYS_RT_SIGQUEUEINFO, pid, signo, siginfo), f"signal {signo} to {pid}")


def user_siginfo(signo: int, code: int, sender_pid: int, sender_uid: int, value: int = 0) -> bytes:
    """A siginfo of the kill/sigqueue layout, 128 bytes."""
    head = struct.pack("=iiii", signo, 0, code, 0) + struct.pack("=iIQ", sender_pid, sender_uid, value & (2**64 - 1))
    return head.ljust(128, b"\0")


def close_descriptors_except(keep: set[int]) -> None:
    """Close every descriptor of this process that is not in `keep`."""
    low = 0
    for fd in sorted(keep):
        if fd > low:
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, max(low, _highest_descriptor() + 1))


def _highest_descriptor() -> int:
    return max((int(name) for name in os.listdir("/proc/self/fd")), default=2)
