"""Hollowing: the original process becomes the deputy of its body.

Owns everything up to the moment the memory is dropped, and the way back from there: each step registers how it is
undone, so that a failure leaves the process running as if nothing had been tried. Never raises once the memory is
being dropped, because then only the deputy is left.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from migrated.deputy.blob import CODE, PARK_OFFSET, RUN_OFFSET, SITE_OFFSET
from migrated.deputy.error import HollowFailed, ProcessGone
from migrated.deputy.freezer import Freezer
from migrated.deputy.held import release_all, seize_all
from migrated.deputy.mappings import argument_range, read_mappings, read_status, read_text, read_timers, without
from migrated.deputy.ptrace import Tracee
from migrated.deputy.rseq import leave_critical_section
from migrated.deputy.x86 import ALL_SIGNALS, PAGE_BYTES, WORD, Call, Registers
from omprotocol.errors import MosixError

_AF_UNIX, _SOCK_SEQPACKET, _SOCK_CLOEXEC = 1, 5, 0o2000000
_F_DUPFD_CLOEXEC = 1030
_SFD_NONBLOCK, _SFD_CLOEXEC = 0o4000, 0o2000000
_PROT_RWX, _PROT_RW = 7, 3
_MAP_PRIVATE_ANONYMOUS = 0x22
_MADV_DONTNEED, _MADV_DONTNEED_LOCKED = 4, 24
# The channel stays below this number: a high one makes the kernel allocate a large table of descriptors.
_FD_CEILING = 256
_OWN_FDS = 3
_STACK_ROOM = 64
_EFLAGS_PLAIN = 0x202
# Where the two pages are asked for; the kernel takes another place when it is taken.
_CODE_HINT = 0x7FFE_0000_0000


class Hollow(msgspec.Struct, frozen=True):
    """What must be remembered of a deputy; JSON-able, survives the shim.

    Descriptors are numbers in the deputy, addresses are in the deputy. `threads`: parked thread ids.
    `pending`: signal numbers queued when it was hollowed (their siginfo codes in `pending_codes`).
    """

    pid: int
    deputy_fd: int
    shim_fd: int
    signal_fd: int
    code: int
    stack: int
    threads: list[int]
    descriptors: list[int]
    pending: list[int]
    pending_codes: list[int]

    @property
    def own_fds(self) -> frozenset[int]:
        """The descriptors that belong to the deputy, not to the process."""
        return frozenset((self.deputy_fd, self.shim_fd, self.signal_fd))

    @property
    def site(self) -> int:
        """Address of a `syscall` instruction in the deputy's page."""
        return self.code + SITE_OFFSET

    @property
    def own_ranges(self) -> tuple[tuple[int, int], ...]:
        """The deputy's pages: (start, end) each."""
        return ((self.code, self.code + PAGE_BYTES), (self.stack, self.stack + PAGE_BYTES))

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON types."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Hollow:
        """The record again. Raises msgspec.ValidationError."""
        return msgspec.convert(record, cls)


Fault = Callable[[str], None]


def _no_fault(step: str) -> None:
    pass


def hollow(pid: int, freezer: Freezer, *, thaw_on_failure: bool = False, fault: Fault = _no_fault) -> Hollow:
    """Make the frozen process `pid` a deputy and release the freezer; blocks some 10 ms.

    Raises HollowFailed with the process unharmed: frozen as before, because a copy of it may run elsewhere; or, with
    `thaw_on_failure`, running and out of the freezer. Raises ProcessGone with the freezer released.
    `fault` is called with the name of each step before it; a test lets it raise.
    """
    try:
        record = _hollow(pid, freezer, fault)
    except HollowFailed:
        if thaw_on_failure:
            _release_quietly(freezer)
        raise
    except ProcessGone:
        _release_quietly(freezer)
        raise
    _release_quietly(freezer)
    return record


def _hollow(pid: int, freezer: Freezer, fault: Fault) -> Hollow:
    try:
        _refuse_unsuitable(pid)
        tracees = seize_all(pid, freezer)
    except ProcessGone:
        raise
    except (OSError, MosixError) as error:
        raise HollowFailed(pid, str(error)) from error
    try:
        with contextlib.ExitStack() as undo:
            record = _prepare(pid, tracees, undo, fault)
            undo.pop_all()
    except BaseException as error:
        # Frozen before it is let go, so that it does not run an instruction.
        freezer.refreeze()
        release_all(tracees)
        if isinstance(error, ProcessGone) or not isinstance(error, Exception):
            raise
        raise HollowFailed(pid, str(error)) from error
    try:
        become_deputy(pid, tracees, record)
    except BaseException:
        release_all(tracees)
        raise
    return record


def _release_quietly(freezer: Freezer) -> None:
    with contextlib.suppress(OSError, MosixError):
        freezer.release()


def _refuse_unsuitable(pid: int) -> None:
    status = read_status(pid)
    if status.get("Seccomp", "0") != "0":
        raise HollowFailed(pid, "its system calls are restricted by seccomp")
    if status.get("State", "").startswith(("Z", "X")):
        raise ProcessGone(pid)


def _prepare(pid: int, tracees: list[Tracee], undo: contextlib.ExitStack, fault: Fault) -> Hollow:
    """Everything that can fail. `undo` is left able to take all of it back."""
    main = tracees[0]
    fault("prepare")
    pending = [info for shared in (True, False) for info in main.pending(shared)]
    own_before = _descriptors(pid)
    for tracee in tracees:
        undo.callback(_quietly, tracee.put_back)
        tracee.prepare()
    fault("pages")
    code = main.call(Call.MMAP, _CODE_HINT, PAGE_BYTES, _PROT_RWX, _MAP_PRIVATE_ANONYMOUS, WORD, 0)
    undo.callback(_quietly, main.call, Call.MUNMAP, code, PAGE_BYTES)
    stack = main.call(Call.MMAP, code + 2 * PAGE_BYTES, PAGE_BYTES, _PROT_RW, _MAP_PRIVATE_ANONYMOUS, WORD, 0)
    undo.callback(_quietly, main.call, Call.MUNMAP, stack, PAGE_BYTES)
    main.write(code, CODE)
    fault("channel")
    fds = _open_channel(main, stack, undo)
    for tracee in tracees:
        fault("rseq")
        registration = tracee.rseq()
        if registration.address:
            assert tracee.saved is not None
            leave_critical_section(tracee, tracee.saved, registration)
            tracee.unregister_rseq(registration)
            undo.callback(_quietly, tracee.register_rseq, registration)
    fault("ready")
    return Hollow(
        pid=pid,
        deputy_fd=fds[0],
        shim_fd=fds[1],
        signal_fd=fds[2],
        code=code,
        stack=stack,
        threads=[tracee.tid for tracee in tracees[1:]],
        descriptors=own_before,
        pending=[struct.unpack_from("i", info)[0] for info in pending],
        pending_codes=[struct.unpack_from("i", info, 8)[0] for info in pending],
    )


def _open_channel(main: Tracee, scratch: int, undo: contextlib.ExitStack) -> list[int]:
    """Make the socket pair and the signalfd at numbers the process is unlikely to use itself."""
    base = max(min(_descriptor_limit(main.tid), _FD_CEILING) - 2 * _OWN_FDS, 3)
    main.call(Call.SOCKETPAIR, _AF_UNIX, _SOCK_SEQPACKET | _SOCK_CLOEXEC, 0, scratch)
    low = list(struct.unpack("ii", main.read(scratch, 8)))
    for fd in low:
        undo.callback(_quietly, main.call, Call.CLOSE, fd)
    main.write(scratch, struct.pack("Q", ALL_SIGNALS))
    low.append(main.call(Call.SIGNALFD4, WORD, scratch, 8, _SFD_NONBLOCK | _SFD_CLOEXEC))
    undo.callback(_quietly, main.call, Call.CLOSE, low[-1])
    high = []
    for fd in low:
        high.append(main.call(Call.FCNTL, fd, _F_DUPFD_CLOEXEC, base))
        undo.callback(_quietly, main.call, Call.CLOSE, high[-1])
    for fd in low:
        main.call(Call.CLOSE, fd)
    main.write(scratch, bytes(8))
    return high


def _descriptor_limit(pid: int) -> int:
    for line in read_text(pid, "limits").splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return _FD_CEILING if soft == "unlimited" else int(soft)
    return _FD_CEILING


def _descriptors(pid: int) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError as error:
        raise ProcessGone(pid) from error


def _quietly(action: Callable[..., Any], *arguments: Any) -> None:
    """Undo as much as can be undone: one failure must not keep the others from being undone."""
    with contextlib.suppress(OSError, MosixError):
        action(*arguments)


def become_deputy(pid: int, tracees: list[Tracee], record: Hollow) -> None:
    """The point of no return: nothing here raises but ProcessGone."""
    main = tracees[0]
    for which in range(3):
        _quietly(main.call, Call.SETITIMER, which, record.stack + PAGE_BYTES // 2, 0)
    for timer in read_timers(pid):
        _quietly(main.call, Call.TIMER_DELETE, int(timer["ID"]))
    for start, end in _droppable(pid, record.own_ranges):
        _drop(main, start, end)
    for tracee in tracees[1:]:
        with contextlib.suppress(ProcessGone):
            tracee.set_registers(_entry(tracee, record.code + PARK_OFFSET))
    registers = _entry(main, record.code + RUN_OFFSET)
    registers.rsp = record.stack + PAGE_BYTES - _STACK_ROOM
    registers.rdi, registers.rsi = record.deputy_fd, record.signal_fd
    main.set_registers(registers)
    release_all(tracees)


def _entry(tracee: Tracee, address: int) -> Registers:
    assert tracee.saved is not None
    registers = tracee.saved.copy()
    registers.rip, registers.eflags, registers.rax, registers.orig_rax = address, _EFLAGS_PLAIN, 0, WORD
    return registers


def _droppable(pid: int, own: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Ranges whose pages are dropped: all but the kernel's, ours, and argv and environ, which ps shows."""
    first, last = argument_range(pid)
    keep = (first & -PAGE_BYTES, -(-last // PAGE_BYTES) * PAGE_BYTES)
    ranges: list[tuple[int, int]] = []
    for mapping in without(read_mappings(pid), *own, keep):
        if mapping.is_special:
            continue
        if ranges and ranges[-1][1] == mapping.start:
            ranges[-1] = (ranges[-1][0], mapping.end)
        else:
            ranges.append((mapping.start, mapping.end))
    return ranges


def _drop(main: Tracee, start: int, end: int) -> None:
    """Drop the pages; pages of shared mappings stay with the file or the others who share them."""
    try:
        main.call(Call.MADVISE, start, end - start, _MADV_DONTNEED)
    except OSError:
        # Locked or huge pages among them (EINVAL): one mapping at a time, locked ones in the way made for them.
        for mapping in read_mappings(main.tid):
            low, high = max(start, mapping.start), min(end, mapping.end)
            if low >= high:
                continue
            for advice in (_MADV_DONTNEED, _MADV_DONTNEED_LOCKED):
                with contextlib.suppress(OSError):
                    main.call(Call.MADVISE, low, high - low, advice)
                    break
            else:
                _quietly(main.call, Call.MUNLOCK, low, high - low)
                _quietly(main.call, Call.MADVISE, low, high - low, _MADV_DONTNEED)
