"""Hollowing: the frozen original becomes its own deputy.

Its threads are seized, every page of its memory is dropped, one page of code and one of stack are added, and it
is let go into a loop that forwards signals and obeys home.  PID, parent, session, terminal, descriptors, command
line, executable and the layout of its address space stay.  Further threads wait in the same page, so that their
tids stay.  There is no tracer and no helper afterwards.
Must run in one thread, blocking (milliseconds).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec

from migrated.deputy.blob import CODE, DEPUTY_OFFSET, PARK_OFFSET, SITE_OFFSET
from migrated.deputy.freezer import Freezer
from migrated.deputy.ptrace import (
    ALL_SIGNALS,
    ProcessGone,
    Registers,
    StepFailed,
    Tracee,
    let_go,
    send_interrupt,
    threads_of,
)
from omprotocol.errors import MosixError

PAGE_BYTES = 4096
_CODE_ADDRESS = 0x7FFE0000000
_ADDRESS_STEP = 0x10000
_ADDRESS_TRIES = 64
_HIGH_DESCRIPTOR = 248  # below 256: a higher number makes the kernel allocate a larger table
_LOWEST_DESCRIPTOR = 10
_CLOSE, _MMAP, _MUNMAP, _MADVISE, _SETITIMER, _SOCKETPAIR, _FCNTL = 3, 9, 11, 28, 38, 53, 72
_MUNLOCKALL, _TIMER_DELETE, _SIGNALFD4, _RSEQ = 152, 226, 289, 334
_F_DUPFD_CLOEXEC = 1030
_AF_UNIX, _SOCK_SEQPACKET = 1, 5
_SFD_NONBLOCK_CLOEXEC = 0o2004000
_MADV_DONTNEED = 4
_RSEQ_UNREGISTER = 1
_PRIVATE_ANONYMOUS_NEW = 0x22 | 0x100000  # MAP_FIXED_NOREPLACE
_NO_DESCRIPTOR = 0xFFFFFFFF
_RWX, _RW = 7, 3
_KERNEL_HALF = 1 << 47
SPECIAL_MAPPINGS = frozenset({"[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"})


class HollowFailed(MosixError):
    """The original could not be hollowed; it is as it was before and still frozen."""

    def __init__(self, pid: int, why: str) -> None:
        super().__init__("hollow-failed", f"Process {pid} could not become a deputy: {why}.", 255)


class Hollow(msgspec.Struct):
    """What must be known of a deputy to talk to it, to refill it, and to find it again after a restart."""

    pid: int
    code: int
    stack: int
    site_offset: int
    channel: list[int]
    signal_fd: int
    parked: list[int]
    rseq: dict[int, list[int]]

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        built: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return built

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Hollow:
        """From the journal.  Raises msgspec.ValidationError."""
        return msgspec.convert(raw, cls, strict=False)


def hollow(pid: int, freezer: Freezer) -> Hollow:
    """Make the deputy of `pid`, which `freezer` holds frozen; it runs (waits) as such on return, `freezer` released.

    Raises HollowFailed with the process unharmed and frozen as before, ProcessGone when it was killed.
    """
    threads = [Tracee(tid) for tid in threads_of(pid)]
    leader, others = threads[0], threads[1:]
    for thread in threads:
        send_interrupt(thread)
    freezer.thaw()
    try:
        for thread in threads:
            thread.wait_stopped()
            thread.prepare()
        made = _build(leader, others)
    except (OSError, StepFailed) as error:
        _put_back(threads, freezer)
        raise HollowFailed(pid, str(error)) from None
    except ProcessGone:
        let_go(threads)
        freezer.release()
        raise
    _drop_memory(leader, others, made)
    enter_deputy(leader, made)
    for thread in others:
        enter_park(thread, made)
    freezer.release()
    return made


def enter_deputy(leader: Tracee, made: Hollow) -> None:
    """Let the main thread go into the deputy's loop."""
    registers = _entry(leader.saved_registers, made)
    registers.rip = made.code + DEPUTY_OFFSET
    registers.rdi, registers.rsi = made.channel[0], made.signal_fd
    leader.set_registers(registers)
    leader.detach()


def enter_park(thread: Tracee, made: Hollow) -> None:
    """Let a further thread go into its wait."""
    registers = _entry(thread.saved_registers, made)
    registers.rip = made.code + PARK_OFFSET
    thread.set_registers(registers)
    thread.detach()


def drop_pages(leader: Tracee, made: Hollow) -> None:
    """Drop all memory but the deputy's two pages and the command line."""
    kept_from, kept_to = _arguments(made.pid)
    for low, high, name in _mappings(made.pid):
        if name in SPECIAL_MAPPINGS or low in (made.code, made.stack):
            continue
        for start, end in ((low, min(high, kept_from)), (max(low, kept_to), high)):
            if start < end:
                _ignoring_errors(leader, _MADVISE, start, end - start, _MADV_DONTNEED)


def _build(leader: Tracee, others: list[Tracee]) -> Hollow:
    """Everything that can fail, while the memory is still there; undone by itself when it fails."""
    code = stack = 0
    descriptors: list[int] = []
    try:
        code = _new_pages(leader)
        stack = code + 2 * PAGE_BYTES
        leader.write(code, CODE)
        leader.unplant()
        leader.plant(code + SITE_OFFSET)
        channel = _channel(leader, stack, descriptors)
        leader.write(stack, struct.pack("Q", ALL_SIGNALS))
        low = leader.system_call(_SIGNALFD4, _NO_DESCRIPTOR, stack, 8, _SFD_NONBLOCK_CLOEXEC)
        signal_fd = _move_up(leader, low, descriptors)
        rseq = {thread.tid: list(thread.rseq()) for thread in (leader, *others)}
    except BaseException:
        for descriptor in descriptors:
            _ignoring_errors(leader, _CLOSE, descriptor)
        if code:
            leader.plant_program()
            _ignoring_errors(leader, _MUNMAP, code, PAGE_BYTES)
            _ignoring_errors(leader, _MUNMAP, stack, PAGE_BYTES)
        raise
    return Hollow(
        pid=leader.tid,
        code=code,
        stack=stack,
        site_offset=SITE_OFFSET,
        channel=channel,
        signal_fd=signal_fd,
        parked=[thread.tid for thread in others],
        rseq=rseq,
    )


def _drop_memory(leader: Tracee, others: list[Tracee], made: Hollow) -> None:
    """From here on there is no way back but refilling."""
    leader.write(made.stack, bytes(32))
    for which in range(3):
        _ignoring_errors(leader, _SETITIMER, which, made.stack, 0)
    for timer in _posix_timers(made.pid):
        _ignoring_errors(leader, _TIMER_DELETE, timer)
    for thread in others:
        thread.plant(made.code + SITE_OFFSET)
    for thread in (leader, *others):
        address, size, signature = made.rseq[thread.tid]
        if address:
            _ignoring_errors(thread, _RSEQ, address, size, _RSEQ_UNREGISTER, signature)
    _ignoring_errors(leader, _MUNLOCKALL)
    drop_pages(leader, made)


def _new_pages(leader: Tracee) -> int:
    """Two pages with a hole between them, at an address nobody uses; returns the first."""
    for attempt in range(_ADDRESS_TRIES):
        address = _CODE_ADDRESS + attempt * _ADDRESS_STEP
        try:
            leader.system_call(_MMAP, address, PAGE_BYTES, _RWX, _PRIVATE_ANONYMOUS_NEW, _NO_DESCRIPTOR, 0)
        except FileExistsError:
            continue
        try:
            leader.system_call(
                _MMAP, address + 2 * PAGE_BYTES, PAGE_BYTES, _RW, _PRIVATE_ANONYMOUS_NEW, _NO_DESCRIPTOR, 0
            )
        except OSError:
            _ignoring_errors(leader, _MUNMAP, address, PAGE_BYTES)
            continue
        return address
    raise StepFailed(leader.tid, "no room for the deputy's code")


def _channel(leader: Tracee, scratch: int, descriptors: list[int]) -> list[int]:
    leader.system_call(_SOCKETPAIR, _AF_UNIX, _SOCK_SEQPACKET, 0, scratch)
    low = list(struct.unpack("ii", leader.read(scratch, 8)))
    descriptors.extend(low)
    moved = [_move_up(leader, descriptor, descriptors) for descriptor in low]
    for descriptor in low:
        descriptors.remove(descriptor)
    return moved


def _move_up(leader: Tracee, descriptor: int, descriptors: list[int]) -> int:
    """Out of the way of numbers the body may use."""
    limit = _descriptor_limit(leader.tid)
    base = max(min(limit - 8, _HIGH_DESCRIPTOR), _LOWEST_DESCRIPTOR)
    high = leader.system_call(_FCNTL, descriptor, _F_DUPFD_CLOEXEC, base)
    descriptors.append(high)
    leader.system_call(_CLOSE, descriptor)
    return high


def _entry(saved: Registers, made: Hollow) -> Registers:
    registers = saved.copy()
    registers.rsp = made.stack + PAGE_BYTES - 72
    registers.orig_rax = ALL_SIGNALS
    registers.rax = 0
    registers.eflags = 0x202
    return registers


def _put_back(threads: list[Tracee], freezer: Freezer) -> None:
    """As before, and frozen before anything can run."""
    freezer.refreeze()
    for thread in threads:
        try:
            thread.restore()
        except (OSError, ProcessGone, AttributeError):
            continue
    let_go(threads)


def _ignoring_errors(leader: Tracee, number: int, *arguments: int) -> None:
    """A clean-up call whose failure changes nothing: what it frees may not have been there."""
    try:
        leader.system_call(number, *arguments)
    except OSError:
        return


def _mappings(pid: int) -> list[tuple[int, int, str]]:
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
        fields = line.split(None, 5)
        low, high = (int(word, 16) for word in fields[0].split("-"))
        if low < _KERNEL_HALF:
            found.append((low, high, fields[5] if len(fields) > 5 else ""))
    return found


def _arguments(pid: int) -> tuple[int, int]:
    """The pages that hold command line and environment: they stay, so that ps shows them."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    start, end = int(fields[45]), int(fields[48])
    return start & -PAGE_BYTES, (end + PAGE_BYTES - 1) & -PAGE_BYTES


def _posix_timers(pid: int) -> list[int]:
    try:
        lines = Path(f"/proc/{pid}/timers").read_text().splitlines()
    except FileNotFoundError:
        return []  # a kernel without CONFIG_CHECKPOINT_RESTORE's file has none that we could see
    return [int(line.split()[1]) for line in lines if line.startswith("ID:")]


def _descriptor_limit(pid: int) -> int:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    word = next((line.split()[3] for line in lines if line.startswith("Max open files")), "1024")
    return int(word) if word.isdigit() else 1 << 20
