"""Giving a held deputy the body's state, call by call: per thread and for the process.

Every function needs a prepared Tracee and the address of a scratch page of which it uses the first half. Raises
OSError when the kernel refuses what must not be left out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from pathlib import Path

from migrated.deputy.body_state import BodyState, OpenFile, ThreadState, Timer
from migrated.deputy.descriptor_plan import SEEKABLE_KINDS, DescriptorPlan
from migrated.deputy.mappings import read_stat, read_status
from migrated.deputy.open_files import read_limits
from migrated.deputy.ptrace import InjectedCallFailed, Rseq, Tracee
from migrated.deputy.x86 import Call

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_NAME = 3, 4, 15
# Lets timer_create take the wanted number, since Linux 6.15 (include/uapi/linux/prctl.h).
_PR_TIMER_CREATE_RESTORE_IDS = 77
_TIMER_TRIES = 4096
_SS_ONSTACK = 1
_O_CLOEXEC = 0o2000000
_CREATION_FLAGS = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_NOCTTY
_PATH_BYTES_MAX = 2047
_NEVER = frozenset({9, 19})


def revive_thread(tracee: Tracee, thread: ThreadState, scratch: int) -> None:
    """Everything of a thread but its registers and mask."""
    start, flags, padding, size = struct.unpack("QiiQ", thread.alternate_stack)
    tracee.write(scratch, struct.pack("QiiQ", start, flags & ~_SS_ONSTACK, padding, size))
    tracee.call(Call.SIGALTSTACK, scratch, 0)
    tracee.call(Call.SET_ROBUST_LIST, thread.robust_list[0], thread.robust_list[1] or 24)
    tracee.call(Call.SET_TID_ADDRESS, thread.clear_tid)
    if Path(f"/proc/{tracee.tid}/comm").read_bytes().rstrip(b"\n") != thread.name:
        tracee.write(scratch, thread.name[:15] + b"\0")
        tracee.call(Call.PRCTL, _PR_SET_NAME, scratch)
    tracee.register_rseq(Rseq(*thread.rseq))
    tracee.set_xstate(thread.xstate)


def revive_process(main: Tracee, state: BodyState, plan: DescriptorPlan, scratch: int) -> None:
    """Descriptors, directory, umask, limits, signal actions, priority."""
    flags = {entry.fd: entry.flags & _O_CLOEXEC for entry in state.files}
    for source, target in plan.copies:
        main.call(Call.DUP3, source, target, flags[target])
    for fd in plan.closes:
        main.call(Call.CLOSE, fd)
    for entry in plan.opens:
        _open(main, entry, scratch)
    for source, target in plan.twins:
        main.call(Call.DUP3, source, target, flags[target])
    for entry in plan.seeks:
        main.call(Call.LSEEK, entry.fd, entry.offset, os.SEEK_SET)
    # A directory that home has renamed or deleted is still the one the original stands in.
    if os.readlink(f"/proc/{main.tid}/cwd") != state.cwd and os.path.isdir(f"/proc/{main.tid}/root{state.cwd}"):
        main.write(scratch, _path(state.cwd))
        main.call(Call.CHDIR, scratch)
    main.call(Call.UMASK, state.umask)
    _actions(main, state, scratch)
    # What the guest's node could not keep the same is not worth failing for.
    with contextlib.suppress(InjectedCallFailed):
        _limits(main, state, scratch)
    with contextlib.suppress(InjectedCallFailed):
        if int(read_stat(main.tid)[16]) != state.nice:
            main.call(Call.SETPRIORITY, 0, 0, state.nice)
    with contextlib.suppress(InjectedCallFailed):
        if main.call(Call.PRCTL, _PR_GET_DUMPABLE) != state.dumpable:
            main.call(Call.PRCTL, _PR_SET_DUMPABLE, state.dumpable)


def start_timers(main: Tracee, state: BodyState, scratch: int) -> None:
    """POSIX timers under their old numbers, then the interval timers."""
    if state.timers:
        with contextlib.suppress(InjectedCallFailed):
            main.call(Call.PRCTL, _PR_TIMER_CREATE_RESTORE_IDS, 1)
        for timer in sorted(state.timers, key=lambda timer: timer.number):
            _create_timer(main, timer, scratch)
        with contextlib.suppress(InjectedCallFailed):
            main.call(Call.PRCTL, _PR_TIMER_CREATE_RESTORE_IDS, 0)
        for timer in state.timers:
            main.write(scratch, timer.setting)
            main.call(Call.TIMER_SETTIME, timer.number, 0, scratch, 0)
    for which, setting in enumerate(state.interval_timers):
        if any(setting):
            main.write(scratch, armed(setting))
            main.call(Call.SETITIMER, which, scratch, 0)


def armed(setting: bytes) -> bytes:
    """A struct itimerval as it must be set again. One that has run out, with its signal still pending, shows no time
    left; set like that it would be off for good, while the kernel would have gone on with the next interval.
    """
    interval, value = setting[:16], setting[16:]
    return setting if any(value) else interval + interval


def _create_timer(main: Tracee, timer: Timer, scratch: int) -> None:
    event = struct.pack("Qiii", timer.value, timer.signo, timer.notify, timer.tid).ljust(64, b"\0")
    for _ in range(_TIMER_TRIES):
        main.write(scratch, event + struct.pack("i", timer.number))
        main.call(Call.TIMER_CREATE, timer.clock, scratch, scratch + 64)
        (number,) = struct.unpack("i", main.read(scratch + 64, 4))
        if number == timer.number:
            return
        # Older kernels count up: go on until the number comes, which it does not when it is behind.
        main.call(Call.TIMER_DELETE, number)
        if number > timer.number:
            break
    raise OSError(errno.EEXIST, f"timer {timer.number} cannot be made again")


def _open(main: Tracee, entry: OpenFile, scratch: int) -> None:
    main.write(scratch, _path(entry.link))
    fd = main.call(Call.OPEN, scratch, entry.flags & ~_CREATION_FLAGS, 0)
    if fd != entry.fd:
        main.call(Call.DUP3, fd, entry.fd, entry.flags & _O_CLOEXEC)
        main.call(Call.CLOSE, fd)
    if entry.kind in SEEKABLE_KINDS and entry.offset:
        main.call(Call.LSEEK, entry.fd, entry.offset, os.SEEK_SET)


def _path(path: str) -> bytes:
    encoded = os.fsencode(path)
    if len(encoded) > _PATH_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, f"{path[:80]}...: path too long")
    return encoded + b"\0"


def _actions(main: Tracee, state: BodyState, scratch: int) -> None:
    status = read_status(main.tid)
    present = int(status["SigCgt"], 16) | int(status["SigIgn"], 16)
    for signo in range(1, 65):
        if signo in _NEVER or not (signo in state.actions or present >> (signo - 1) & 1):
            continue
        main.write(scratch, state.actions.get(signo, bytes(32)))
        main.call(Call.RT_SIGACTION, signo, scratch, 0, 8)


def _limits(main: Tracee, state: BodyState, scratch: int) -> None:
    """Soft limits the body has changed. Where the hard limits differ it is the node that differs, not the body."""
    present = read_limits(main.tid)
    for number, (soft, hard) in state.limits.items():
        if number in present and present[number][1] == hard and present[number][0] != soft:
            main.write(scratch, struct.pack("QQ", soft, hard))
            main.call(Call.PRLIMIT64, 0, number, scratch, 0)
