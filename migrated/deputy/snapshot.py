"""The body, stopped and read: its state as one record and its memory as a stream of pages.

Holds every thread by ptrace from construction to `release`. What it reads by injected calls needs one page of
scratch memory in the body, which is unmapped again before the mappings are listed. Never changes the body.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from migrated.deputy.body_state import BodyState, ThreadState, Timer, decode_state, encode_state
from migrated.deputy.error import CaptureFailed, ProcessGone
from migrated.deputy.freezer import Freezer
from migrated.deputy.held import release_all, seize_all
from migrated.deputy.mappings import Mapping, read_mappings, read_stat, read_status, read_timers
from migrated.deputy.open_files import read_limits, read_open_files
from migrated.deputy.own_view import read_own_links
from migrated.deputy.ptrace import Tracee
from migrated.deputy.rseq import leave_critical_section
from migrated.deputy.x86 import PAGE_BYTES, WORD, Call
from omprotocol.errors import MosixError

__all__ = ["BodySnapshot", "BodyState", "decode_state", "encode_state"]

CHUNK_BYTES = 256 * 1024
_PAGEMAP_PAGES = 1 << 20
# Top byte of a pagemap entry: 0x80 present, 0x40 swapped, 0x20 page of a file. Documentation/admin-guide/mm/pagemap.rst
_IS_OWN = bytes(1 if byte & 0xC0 and not byte & 0x20 else 0 for byte in range(256))
_RUN = re.compile(rb"\x01+")
_PR_GET_DUMPABLE, _PR_GET_TID_ADDRESS = 3, 40
_SIGCHLD = 17
_SIGEV_NAMES = {"signal": 0, "none": 1, "thread": 2}
_SIGEV_THREAD_ID = 4
_WALL = 0x40000000


class BodySnapshot:
    """One stopped body. `state` is complete after construction; release() must follow."""

    def __init__(self, pid: int, freezer: Freezer | None = None) -> None:
        """Stop and read `pid` (as seen from here). Blocks some ms. With `freezer` the body must be frozen, and is
        thawed once it is held. Raises ProcessGone, CaptureFailed; the body runs on then.
        """
        self.pid = pid
        try:
            self._tracees = seize_all(pid, freezer)
        except (OSError, TimeoutError) as error:
            if freezer is not None:
                freezer.thaw()
            raise CaptureFailed(pid, str(error)) from error
        try:
            for tracee in self._tracees:
                tracee.prepare()
            self.state = self._read()
        except BaseException as error:
            self.release(kill=False)
            if isinstance(error, MosixError) or not isinstance(error, Exception):
                raise
            raise CaptureFailed(pid, str(error)) from error

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(address, bytes) of every page that is the body's own: anonymous, or a changed page of a private file
        mapping. At most CHUNK_BYTES each, in address order. Raises OSError, ProcessGone.
        """
        memory = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            pagemap = os.open(f"/proc/{self.pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            try:
                for mapping in self.state.mappings:
                    if not mapping.is_special and not mapping.is_shared:
                        yield from _own_pages(memory, pagemap, mapping)
            finally:
                os.close(pagemap)
        finally:
            os.close(memory)

    def release(self, kill: bool) -> None:
        """Let the body run on as it was, or end it with SIGKILL. Harmless when it is gone or done before."""
        tracees, self._tracees = self._tracees, []
        if kill and tracees:
            try:
                os.kill(self.pid, 9)
            except ProcessLookupError:
                pass
        for tracee in tracees:
            try:
                tracee.put_back()
            except (OSError, MosixError):
                pass
        release_all(tracees)
        if kill:
            _reap(self.pid, [tracee.tid for tracee in tracees])

    def _read(self) -> BodyState:
        main = self._tracees[0]
        status = read_status(self.pid)
        scratch = main.call(Call.MMAP, 0, PAGE_BYTES, 3, 0x22, WORD, 0)
        try:
            inside = int(status.get("NSpid", str(self.pid)).split()[-1])
            caught = int(status["SigCgt"], 16) | int(status["SigIgn"], 16) | 1 << (_SIGCHLD - 1)
            actions = {}
            for signo in range(1, 65):
                if caught >> (signo - 1) & 1 and signo not in (9, 19):
                    main.call(Call.RT_SIGACTION, signo, 0, scratch, 8)
                    actions[signo] = main.read(scratch, 32)
            interval_timers = []
            for which in range(3):
                main.call(Call.GETITIMER, which, scratch)
                interval_timers.append(main.read(scratch, 32))
            timers = [self._timer(main, scratch, entry) for entry in read_timers(self.pid)]
            threads = [self._thread(tracee, scratch) for tracee in self._tracees]
            brk = main.call(Call.BRK, 0)
            dumpable = main.call(Call.PRCTL, _PR_GET_DUMPABLE)
        finally:
            main.call(Call.MUNMAP, scratch, PAGE_BYTES)
        mappings = read_mappings(self.pid)
        return BodyState(
            pid=inside,
            threads=threads,
            mappings=mappings,
            vdso_digest=vdso_digest_of(self.pid, mappings),
            brk=brk,
            actions=actions,
            interval_timers=interval_timers,
            timers=timers,
            pending=main.pending(shared=True),
            files=read_open_files(self.pid),
            cwd=read_own_links(self.pid, ["cwd"])[0],
            umask=int(status["Umask"], 8),
            limits=read_limits(self.pid),
            dumpable=dumpable,
            nice=int(read_stat(self.pid)[16]),
        )

    def _thread(self, tracee: Tracee, scratch: int) -> ThreadState:
        assert tracee.saved is not None
        registers, rseq = tracee.saved.copy(), tracee.rseq()
        if rseq.address:
            leave_critical_section(tracee, registers, rseq)
        tracee.call(Call.SIGALTSTACK, 0, scratch)
        alternate = tracee.read(scratch, 24)
        tracee.call(Call.GET_ROBUST_LIST, 0, scratch, scratch + 8)
        head, size = struct.unpack("QQ", tracee.read(scratch, 16))
        tracee.call(Call.PRCTL, _PR_GET_TID_ADDRESS, scratch)
        (clear_tid,) = struct.unpack("Q", tracee.read(scratch, 8))
        return ThreadState(
            tid=self._inside(tracee.tid),
            name=Path(f"/proc/{self.pid}/task/{tracee.tid}/comm").read_bytes().rstrip(b"\n"),
            registers=bytes(registers),
            xstate=tracee.xstate(),
            mask=tracee.saved_mask,
            rseq=(rseq.address, rseq.size, rseq.signature),
            alternate_stack=alternate,
            robust_list=(head, size),
            clear_tid=clear_tid,
            pending=tracee.pending(shared=False),
        )

    def _inside(self, tid: int) -> int:
        """A thread id of ours as the body's own PID namespace counts it."""
        return int(read_status(tid).get("NSpid", str(tid)).split()[-1])

    def _timer(self, main: Tracee, scratch: int, entry: dict[str, str]) -> Timer:
        main.call(Call.TIMER_GETTIME, int(entry["ID"]), scratch)
        signo, _, value = entry["signal"].partition("/")
        how, _, target = entry["notify"].partition("/")
        is_thread = target.startswith("tid.")
        return Timer(
            number=int(entry["ID"]),
            clock=int(entry["ClockID"]),
            notify=_SIGEV_THREAD_ID if is_thread else _SIGEV_NAMES.get(how, 0),
            signo=int(signo),
            value=int(value, 16),
            tid=self._inside(int(target.rpartition(".")[2])) if is_thread else 0,
            setting=main.read(scratch, 32),
        )


def _reap(pid: int, tids: list[int]) -> None:
    """A thread killed while it is traced stays a zombie, and its PID namespace with it, until its tracer has waited."""
    for tid in sorted(tids, key=lambda tid: tid == pid):
        try:
            os.waitpid(tid, _WALL)
        except ChildProcessError:
            continue


def vdso_digest_of(pid: int, mappings: list[Mapping]) -> bytes:
    """SHA-256 of the code the kernel put into the process; empty without one. Raises OSError."""
    for mapping in mappings:
        if mapping.name == "[vdso]":
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                memory.seek(mapping.start)
                return hashlib.sha256(memory.read(mapping.end - mapping.start)).digest()
    return b""


def _own_pages(memory: int, pagemap: int, mapping: Mapping) -> Iterator[tuple[int, bytes]]:
    first, last = mapping.start // PAGE_BYTES, mapping.end // PAGE_BYTES
    for begin in range(first, last, _PAGEMAP_PAGES):
        count = min(_PAGEMAP_PAGES, last - begin)
        own = os.pread(pagemap, count * 8, begin * 8)[7::8].translate(_IS_OWN)
        for run in _RUN.finditer(own):
            address, end = (begin + run.start()) * PAGE_BYTES, (begin + run.end()) * PAGE_BYTES
            while address < end:
                data = os.pread(memory, min(CHUNK_BYTES, end - address), address)
                if not data:
                    raise ProcessGone(0)
                yield address, data
                address += len(data)
