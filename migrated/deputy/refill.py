"""Coming home in place: the deputy gets the body's memory and state and is the process again.

Order: plan (looks only), begin (threads and layout), write_pages, put_pipe, finish. Up to the last lines of finish,
abort() makes it a deputy again. While it is half made the kernel kills it if we die: it must not run then.
Calls after begin() must come from the same thread.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from collections.abc import Mapping as Table
from pathlib import Path

from migrated.criu.interrupted import BEGUN_AGAIN, ENDED_BY_STOPS
from migrated.deputy.blob import CODE
from migrated.deputy.body_state import BodyState, ThreadState
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.descriptor_plan import DescriptorPlan, follow_renames, plan_descriptors
from migrated.deputy.error import ProcessGone, RefillFailed
from migrated.deputy.held import release_all, seize_all
from migrated.deputy.hollow import Hollow, become_deputy
from migrated.deputy.layout import Grow, Map, Protect, Step, Unmap, layout_reasons, layout_steps
from migrated.deputy.mappings import Mapping, read_mappings, read_status, read_threads, without
from migrated.deputy.open_files import read_open_files
from migrated.deputy.ptrace import Tracee, own_call
from migrated.deputy.revive import revive_process, revive_thread, start_timers
from migrated.deputy.snapshot import vdso_digest_of
from migrated.deputy.x86 import ALL_SIGNALS, PAGE_BYTES, WORD, Call, Registers
from omprotocol.errors import MosixError

# CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM: a thread as pthread_create makes it; the rest is set afterwards.
_CLONE_THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000
# Others make processes too: whoever takes the wanted number in between is mostly short-lived.
_CLONE_TIMEOUT_S = 3.0
_THREAD_EXIT_TIMEOUT_S = 10.0
_MAP_FIXED, _MAP_ANONYMOUS, _MAP_SHARED, _MAP_PRIVATE = 0x10, 0x20, 1, 2
_PROT_WRITE = 2
_O_CLOEXEC, _O_NONBLOCK, _F_SETFL = 0o2000000, 0o4000, 4
_SYS_PIDFD_GETFD = 438
_ERESTARTNOHAND, _ERESTART_RESTARTBLOCK, _EINTR = 514, 516, 4


class Refill:
    """One homecoming of `pid`, the deputy described by `hollow`, with the body's `state`."""

    def __init__(self, pid: int, hollow: Hollow, state: BodyState, relays: Table[str, int] | None = None) -> None:
        """`relays`: the body's link of each relay (as /proc/BODY/fd shows it) -> its descriptor at home; None: taken
        by number and kind.
        """
        self.pid = pid
        self._hollow = hollow
        self._state = state
        self._relays = relays
        self._tracees: list[Tracee] = []
        self._descriptors: DescriptorPlan | None = None

    def plan(self) -> list[str]:
        """Why it is not possible, for people; empty when it is. Changes nothing. Raises ProcessGone."""
        state, hollow = self._state, self._hollow
        home = [entry for entry in read_open_files(self.pid) if entry.fd not in hollow.own_fds]
        follow_renames(home, state.files, self._inode_at)
        self._descriptors = plan_descriptors(home, state.files, self._relays)
        reasons = list(self._descriptors.reasons)
        reasons += [f"it uses descriptor {e.fd}" for e in state.files if e.fd in hollow.own_fds]
        present = self._present()
        reasons += layout_reasons(present, state.mappings)
        if without(state.mappings, *hollow.own_ranges) != state.mappings:
            reasons.append("its memory lies where the deputy is")
        if state.vdso_digest != vdso_digest_of(self.pid, present):
            reasons.append("the other node's kernel differs")
        with Path(f"/proc/{self.pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(hollow.code)
            if memory.read(len(CODE)) != CODE:
                reasons.append("it is no deputy")
        here = set(read_threads(self.pid))
        reasons += [
            f"thread id {thread.tid} is taken at home"
            for thread in state.threads
            if thread.tid not in here and os.path.exists(f"/proc/{thread.tid}")
        ]
        if state.threads[0].tid != self.pid:
            reasons.append("its process id differs")
        return reasons

    def begin(self) -> None:
        """Hold the deputy and give it the body's threads and layout. Raises RefillFailed, ProcessGone; abort() then."""
        if self._descriptors is None:
            raise RefillFailed(self.pid, "it was not planned")
        with self._explained():
            self._tracees = seize_all(self.pid)
            for tracee in self._tracees:
                tracee.die_with_us()
                self._prepare(tracee)
            self._match_threads()
            main = self._tracees[0]
            if main.call(Call.BRK, self._state.brk) != self._state.brk:
                raise RefillFailed(self.pid, "its heap does not fit")
            for step in layout_steps(self._present(), self._state.mappings):
                self._lay(main, step)

    def write_pages(self, address: int, data: bytes) -> None:
        """Put memory of the body in place. Raises RefillFailed for addresses that are not the process's."""
        end = address + len(data)
        if any(address < high and low < end for low, high in self._hollow.own_ranges):
            raise RefillFailed(self.pid, f"pages at {address:#x} are not its own")
        with self._explained():
            self._tracees[0].write(address, data)

    def put_pipe(self, numbers: list[int]) -> int:
        """Put the reading end of a new pipe at the descriptors `numbers` of the process; return our own writing end."""
        main, scratch = self._tracees[0], self._hollow.stack
        with self._explained():
            main.call(Call.PIPE2, scratch, _O_CLOEXEC)
            reader, writer = struct.unpack("ii", main.read(scratch, 8))
            pidfd = os.pidfd_open(self.pid)
            try:
                ours = own_call(_SYS_PIDFD_GETFD, pidfd, writer, 0)
            finally:
                os.close(pidfd)
                main.call(Call.CLOSE, writer)
            flags = {entry.fd: entry.flags for entry in read_open_files(self.pid)}
            for number in numbers:
                if flags.get(number, 0) & _O_NONBLOCK:
                    main.call(Call.FCNTL, reader, _F_SETFL, _O_NONBLOCK)
                main.call(Call.DUP3, reader, number, flags.get(number, 0) & _O_CLOEXEC)
            main.call(Call.CLOSE, reader)
        return ours

    def finish(self) -> None:
        """Give it the rest of the state and let it run; nothing of ours is left. Raises RefillFailed, ProcessGone;
        abort() then, which works until the deputy's own descriptors are closed.
        """
        assert self._descriptors is not None
        main, hollow, state = self._tracees[0], self._hollow, self._state
        threads = {thread.tid: thread for thread in state.threads}
        with self._explained():
            for tracee in self._tracees:
                revive_thread(tracee, threads[tracee.tid], hollow.stack)
            revive_process(main, state, self._descriptors, hollow.stack)
            late = self._late_signals()
            start_timers(main, state, hollow.stack)
            self._queue_signals(main, late)
            main.move_site()
            for fd in sorted(hollow.own_fds):
                main.call(Call.CLOSE, fd)
            for start, end in hollow.own_ranges:
                main.call(Call.MUNMAP, start, end - start)
            for tracee in self._tracees:
                tracee.set_registers(resumable(threads[tracee.tid]))
                tracee.set_mask(threads[tracee.tid].mask)
        tracees, self._tracees = self._tracees, []
        release_all(tracees)

    def abort(self) -> None:
        """Make it a deputy again, before finish() has succeeded. Never raises; harmless when nothing was begun."""
        tracees, self._tracees = self._tracees, []
        if not tracees:
            return
        with contextlib.suppress(OSError, MosixError):
            for tracee in tracees:
                with contextlib.suppress(OSError):
                    tracee.unregister_rseq(tracee.rseq())
            become_deputy(self.pid, tracees, self._hollow)
            return
        release_all(tracees)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise RefillFailed(self.pid, str(error)) from error

    def _inode_at(self, path: str) -> int | None:
        with contextlib.suppress(OSError):
            return os.stat(f"/proc/{self.pid}/root{path}").st_ino
        return None

    def _present(self) -> list[Mapping]:
        return without(read_mappings(self.pid), *self._hollow.own_ranges)

    def _prepare(self, tracee: Tracee) -> None:
        tracee.prepare(self._hollow.site)
        assert tracee.saved is not None
        # sigaltstack refuses while the stack pointer lies in the old alternative stack.
        tracee.saved.rsp = self._hollow.stack + PAGE_BYTES

    def _match_threads(self) -> None:
        wanted = {thread.tid for thread in self._state.threads}
        for tracee in list(self._tracees):
            if tracee.tid not in wanted:
                self._tracees.remove(tracee)
                _end(tracee)
        self._wait_threads(len(self._tracees))
        here = {tracee.tid for tracee in self._tracees}
        for tid in sorted(wanted - here):
            self._tracees.append(self._create_thread(tid))

    def _create_thread(self, tid: int) -> Tracee:
        main = self._tracees[0]
        deadline = time.monotonic() + _CLONE_TIMEOUT_S
        while time.monotonic() < deadline:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(tid - 1))
            born = main.clone(_CLONE_THREAD)
            self._prepare(born)
            if born.tid == tid:
                return born
            # Somebody else was faster: this number is not the one.
            _end(born)
            self._wait_threads(len(self._tracees))
        raise RefillFailed(self.pid, f"thread {tid} cannot be made")

    def _wait_threads(self, count: int) -> None:
        deadline = time.monotonic() + _THREAD_EXIT_TIMEOUT_S
        while len(read_threads(self.pid)) > count:
            if time.monotonic() > deadline:
                raise TimeoutError("a thread of the deputy does not end")
            time.sleep(0.0005)

    def _lay(self, main: Tracee, step: Step) -> None:
        size = step.end - step.start
        match step:
            case Unmap():
                main.call(Call.MUNMAP, step.start, size)
            case Protect():
                main.call(Call.MPROTECT, step.start, size, step.protection)
            case Grow():
                main.write(step.start, b"\0")
            case Map(path=""):
                kind = _MAP_SHARED if step.is_shared else _MAP_PRIVATE
                main.call(Call.MMAP, step.start, size, step.protection, kind | _MAP_FIXED | _MAP_ANONYMOUS, WORD, 0)
            case Map():
                writes = step.is_shared and step.protection & _PROT_WRITE
                main.write(self._hollow.stack, os.fsencode(step.path) + b"\0")
                fd = main.call(Call.OPEN, self._hollow.stack, os.O_RDWR if writes else os.O_RDONLY, 0)
                kind = _MAP_SHARED if step.is_shared else _MAP_PRIVATE
                main.call(Call.MMAP, step.start, size, step.protection, kind | _MAP_FIXED, fd, step.offset)
                main.call(Call.CLOSE, fd)

    def _late_signals(self) -> list[bytes]:
        """What the deputy had forwarded and nobody has read: it belongs to the process again."""
        channel = DeputyChannel.open(self.pid, self._hollow)
        try:
            return [forwarded.raw for forwarded in channel.receive()]
        finally:
            channel.close()

    def _queue_signals(self, main: Tracee, late: list[bytes]) -> None:
        own = int(read_status(self.pid).get("NSpid", str(self.pid)).split()[-1])
        scratch = self._hollow.stack
        for info in (*self._state.pending, *late):
            main.write(scratch, info)
            main.call(Call.RT_SIGQUEUEINFO, own, struct.unpack_from("i", info)[0], scratch)
        for thread in self._state.threads:
            for info in thread.pending:
                main.write(scratch, info)
                signo = struct.unpack_from("i", info)[0]
                main.call(Call.RT_TGSIGQUEUEINFO, own, thread.tid, signo, scratch)


def resumable(thread: ThreadState) -> Registers:
    """The registers with which the thread goes on. A call that was interrupted is restarted by the kernel; one that
    would need the other kernel's restart block, or that the stop has ended, is begun again, as after a dump
    (criu/interrupted.py says why).
    """
    registers = Registers.from_buffer_copy(thread.registers)
    call, result = registers.orig_rax, registers.rax
    if result == WORD + 1 - _ERESTART_RESTARTBLOCK and call not in BEGUN_AGAIN and call < 1 << 63:
        registers.rax, registers.orig_rax = WORD + 1 - _EINTR, WORD
    elif (call in BEGUN_AGAIN and result == WORD + 1 - _ERESTART_RESTARTBLOCK) or (
        call in ENDED_BY_STOPS and result == WORD + 1 - _EINTR
    ):
        registers.rax = WORD + 1 - _ERESTARTNOHAND
    return registers


def _end(tracee: Tracee) -> None:
    """Have a thread end without touching memory that is not its own any more."""
    tracee.set_mask(ALL_SIGNALS)
    with contextlib.suppress(ProcessGone):
        tracee.call(Call.SET_TID_ADDRESS, 0)
        tracee.call(Call.SET_ROBUST_LIST, 0, 24)
        tracee.leave(Call.EXIT, 0)
