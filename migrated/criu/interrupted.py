"""Blocking calls that a dump has interrupted are begun again, instead of failing with EINTR at the other node.

CRIU itself restarts what the kernel would restart after a signal, but for the calls that go on by a restart block,
which stays behind with the kernel: those it ends with EINTR, which a program without signal handlers never saw.
Begun again they last longer by the time they had waited; sleep(3) does not, as the kernel has written the time left
over its argument.  Where a signal waits to be handled, its handler may rely on EINTR: all is left as it is then.
Works on images only.  Source of the numbers: CRIU's images/core-x86.proto, asm/unistd_64.h.
"""

from __future__ import annotations

from pathlib import Path

from .images import fields, pending_signals, replace_bytes, rewrite_core, set_varints

BEGUN_AGAIN = frozenset({7, 35, 202, 230})
"""poll, nanosleep, futex, clock_nanosleep: the calls with a restart block."""
ENDED_BY_STOPS = frozenset({128, 232, 281})
"""rt_sigtimedwait, epoll_wait, epoll_pwait: even a stop or a freezing ends them with EINTR (signal(7))."""
_EINTR = (1 << 64) - 4
_SYSCALL_BYTES = 2
_THREAD_INFO, _REGISTERS = 2, 2
_AX, _ORIG_AX, _IP = 11, 16, 17


def begin_calls_again(images_dir: str) -> int:
    """Rewrite the registers of every thread of the images that was in such a call; returns how many there were.

    Raises ValueError for an image that is cut short, OSError.
    """
    cores = list(Path(images_dir).glob("core-*.img"))
    if any(pending_signals(images_dir, int(path.stem.removeprefix("core-"))) for path in cores):
        return 0
    return sum(rewrite_core(path, _core) for path in cores)


def _core(core: bytes) -> bytes:
    return replace_bytes(core, _THREAD_INFO, lambda info: replace_bytes(info, _REGISTERS, _begun_again))


def _begun_again(registers: bytes) -> bytes:
    values = {number: value for number, _, value in fields(registers) if isinstance(value, int)}
    if values.get(_AX) != _EINTR or values.get(_ORIG_AX) not in BEGUN_AGAIN | ENDED_BY_STOPS:
        return registers
    return set_varints(registers, {_AX: values[_ORIG_AX], _IP: values[_IP] - _SYSCALL_BYTES})
