"""The few system calls the virtual cluster needs and Python 3.11 does not offer.

Owns namespaces, mounts and process attributes by ctypes. Every function raises OSError with the
arguments in its text; none retries and none falls back.
"""

import ctypes
import os
import signal
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
# x86_64 and arm64 numbers of the calls glibc has no wrapper for, or wraps with restrictions.
_NUMBERS = {"x86_64": (155, 13), "aarch64": (41, 134)}
_SIGNALS_MAX = 64

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by the CLONE_NEW* flags for new ones (PID: for the next child)."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); `kind` is the file system type, empty for binds and changes of propagation."""
    arguments = [text.encode() if text else None for text in (source, str(target), kind)]
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount {source} on {target} ({kind or 'bind'})")


def unmount_detached(target: str) -> None:
    """Take a mount tree out of the name space at once, busy or not."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(_MNT_DETACH)), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2): `new_root` becomes /, the old root appears at `put_old` below it."""
    number = _NUMBERS[os.uname().machine][0]
    _check(_libc.syscall(ctypes.c_long(number), new_root.encode(), put_old.encode()), f"pivot_root {new_root}")


def set_hostname(name: str) -> None:
    """Name of this UTS namespace."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name.encode()))), f"sethostname {name}")


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that is its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl PDEATHSIG")


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl CHILD_SUBREAPER")


def set_process_name(name: str) -> None:
    """Name in ps, at most 15 bytes."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl NAME")


def reset_signals() -> None:
    """Every signal to its default action and none blocked, as a program expects to be started."""
    for number in range(1, _SIGNALS_MAX + 1):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            _set_default(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def reset_ignored_internal_signals() -> None:
    """The signals 32 and 33 to their default action where they are ignored.

    glibc keeps them to itself, and a program started by posix_spawn (make does that) inherits them as
    ignored; a process that then migrates would carry this oddity along.
    """
    status = Path("/proc/self/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    for number in (32, 33):
        if ignored & 1 << (number - 1):
            _set_default(number)


def _set_default(number: int) -> None:
    action = (ctypes.c_ulong * 4)()
    call = ctypes.c_long(_NUMBERS[os.uname().machine][1])
    size = ctypes.c_size_t(_SIGNALS_MAX // 8)
    _libc.syscall(call, ctypes.c_long(number), ctypes.byref(action), None, size)
