"""One traced thread: stop it, read and set its state, make it perform system calls, let it go.

All calls on a Tracee must come from the thread that created it. The thread may vanish at any moment: every
method then raises ProcessGone. Injected calls run on a `syscall` instruction of the tracee's own vdso, so no
byte of its memory is changed. Never waits without a deadline.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import time

from migrated.deputy.error import ProcessGone
from migrated.deputy.mappings import read_mappings
from migrated.deputy.x86 import ALL_SIGNALS, WORD, Call, Registers

_CONT, _GETREGS, _SETREGS, _DETACH, _SYSCALL = 7, 12, 13, 17, 24
_SETOPTIONS, _GETEVENTMSG, _GETREGSET, _SETREGSET = 0x4200, 0x4201, 0x4204, 0x4205
_SEIZE, _INTERRUPT, _PEEKSIGINFO, _GETSIGMASK, _SETSIGMASK = 0x4206, 0x4207, 0x4209, 0x420A, 0x420B
_GET_RSEQ_CONFIGURATION = 0x420F
_O_TRACESYSGOOD, _O_TRACECLONE, _O_EXITKILL = 1, 8, 0x100000
_EVENT_CLONE, _EVENT_STOP = 3, 128
_NT_X86_XSTATE = 0x202
_XSTATE_BYTES_MAX = 65536
_WALL = 0x40000000
_SIGINFO_BYTES = 128
_PEEK_SHARED = 1
_RSEQ_UNREGISTER = 1
_SYSCALL_INSTRUCTION = b"\x0f\x05"
# A stopped thread performs an injected call at once; what takes longer is a hung file system.
CALL_TIMEOUT_S = 20.0
_REAP_TIMEOUT_S = 2.0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long


def _ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    result: int = _libc.ptrace(request, tid, address, data)
    number = ctypes.get_errno()
    if result < 0 and number:
        if number == errno.ESRCH:
            raise ProcessGone(tid)
        raise OSError(number, f"ptrace {request:#x} of {tid}: {os.strerror(number)}")
    return result


def own_call(number: int, *arguments: int) -> int:
    """Perform a raw system call in this process and return its result. Raises OSError."""
    result: int = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


class InjectedCallFailed(OSError):
    """A system call made by the tracee for us returned an error."""


class Rseq:
    """A thread's restartable-sequence registration; `address` 0 means none."""

    def __init__(self, address: int, size: int, signature: int) -> None:
        self.address, self.size, self.signature = address, size, signature


class Tracee:
    """One seized thread `tid`; call `stop` next, `detach` last."""

    def __init__(self, tid: int, *, die_with_us: bool = False) -> None:
        """Seize the thread; it runs on, but see `die_with_us`. Raises ProcessGone, PermissionError."""
        _ptrace(_SEIZE, tid, 0, _O_TRACESYSGOOD | _O_TRACECLONE | (_O_EXITKILL if die_with_us else 0))
        self._begin(tid)

    def _begin(self, tid: int) -> None:
        self.tid = tid
        self.stopped = False
        self.swallowed: list[int] = []
        self.saved: Registers | None = None
        self.saved_mask = 0
        self._site = 0
        self._memory = -1
        self._newborn = 0

    @classmethod
    def adopt(cls, tid: int) -> Tracee:
        """Take over a thread that was born traced (PTRACE_O_TRACECLONE); it is stopped at its first instruction."""
        tracee = cls.__new__(cls)
        tracee._begin(tid)
        tracee._wait_event_stop(time.monotonic() + CALL_TIMEOUT_S)
        return tracee

    def die_with_us(self) -> None:
        """Have the kernel kill the process if we die before the detach (it must not run half made)."""
        _ptrace(_SETOPTIONS, self.tid, 0, _O_TRACESYSGOOD | _O_TRACECLONE | _O_EXITKILL)

    def interrupt(self) -> None:
        """Ask the thread to stop (a frozen thread stops when it is thawed)."""
        _ptrace(_INTERRUPT, self.tid)

    def wait_stopped(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Wait for the stop asked for by `interrupt`. Raises TimeoutError, ProcessGone."""
        self._wait_event_stop(time.monotonic() + timeout_s)

    def stop(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Stop the thread without a signal. Raises TimeoutError, ProcessGone."""
        self.interrupt()
        self.wait_stopped(timeout_s)

    def _wait(self, deadline: float) -> int:
        pause_s = 0.0
        while True:
            try:
                tid, status = os.waitpid(self.tid, _WALL | os.WNOHANG)
            except ChildProcessError as error:
                raise ProcessGone(self.tid) from error
            if tid:
                if not os.WIFSTOPPED(status):
                    raise ProcessGone(self.tid)
                return status
            if time.monotonic() > deadline:
                raise TimeoutError(f"thread {self.tid} did not stop")
            # The first looks are free of sleep: an injected call takes microseconds.
            time.sleep(pause_s)
            pause_s = min(pause_s + 0.00005, 0.005)

    def _wait_event_stop(self, deadline: float) -> None:
        while True:
            status = self._wait(deadline)
            if status >> 16 == _EVENT_STOP:
                self.stopped = True
                return
            received = 0 if status >> 16 else os.WSTOPSIG(status)
            _ptrace(_CONT, self.tid, 0, received)

    def registers(self) -> Registers:
        """The general registers."""
        registers = Registers()
        _ptrace(_GETREGS, self.tid, 0, ctypes.addressof(registers))
        return registers

    def set_registers(self, registers: Registers) -> None:
        """Set the general registers."""
        _ptrace(_SETREGS, self.tid, 0, ctypes.addressof(registers))

    def xstate(self) -> bytes:
        """FPU, SSE, AVX and so on, as XSAVE lays them out on this processor."""
        buffer = ctypes.create_string_buffer(_XSTATE_BYTES_MAX)
        vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), _XSTATE_BYTES_MAX)
        _ptrace(_GETREGSET, self.tid, _NT_X86_XSTATE, ctypes.addressof(vector))
        return buffer.raw[: vector[1]]

    def set_xstate(self, state: bytes) -> None:
        """Set what `xstate` of a processor with the same features returned. Raises OSError."""
        buffer = ctypes.create_string_buffer(state, len(state))
        vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), len(state))
        _ptrace(_SETREGSET, self.tid, _NT_X86_XSTATE, ctypes.addressof(vector))

    def mask(self) -> int:
        """The blocked signals; bit 0 is signal 1."""
        value = ctypes.c_ulong()
        _ptrace(_GETSIGMASK, self.tid, 8, ctypes.addressof(value))
        return value.value

    def set_mask(self, mask: int) -> None:
        """Set the blocked signals."""
        value = ctypes.c_ulong(mask)
        _ptrace(_SETSIGMASK, self.tid, 8, ctypes.addressof(value))

    def rseq(self) -> Rseq:
        """The thread's rseq registration. Kernels without the question (before 5.13) have none that matters."""
        buffer = ctypes.create_string_buffer(24)
        try:
            _ptrace(_GET_RSEQ_CONFIGURATION, self.tid, 24, ctypes.addressof(buffer))
        except OSError:
            return Rseq(0, 0, 0)
        return Rseq(*struct.unpack("QII", buffer.raw[:16]))

    def pending(self, shared: bool) -> list[bytes]:
        """siginfo (128 bytes each) of the signals queued for the process (`shared`) or this thread, in order."""
        found: list[bytes] = []
        while True:
            question = ctypes.create_string_buffer(
                struct.pack("QIi", len(found), _PEEK_SHARED if shared else 0, 32), 16
            )
            buffer = ctypes.create_string_buffer(_SIGINFO_BYTES * 32)
            count = _ptrace(_PEEKSIGINFO, self.tid, ctypes.addressof(question), ctypes.addressof(buffer))
            raw = buffer.raw
            found += [raw[i * _SIGINFO_BYTES : (i + 1) * _SIGINFO_BYTES] for i in range(count)]
            if count < 32:
                return found

    def read(self, address: int, size: int) -> bytes:
        """Read memory, whatever its protection. Raises OSError where nothing is mapped."""
        return os.pread(self._open_memory(), size, address)

    def write(self, address: int, data: bytes) -> None:
        """Write memory, whatever its protection. Raises OSError, ProcessGone."""
        done = 0
        while done < len(data):
            count = os.pwrite(self._open_memory(), data[done:], address + done)
            if count == 0:
                raise ProcessGone(self.tid)  # what has died has no memory and takes nothing, without an error
            done += count

    def _open_memory(self) -> int:
        if self._memory < 0:
            try:
                self._memory = os.open(f"/proc/{self.tid}/mem", os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise ProcessGone(self.tid) from error
        return self._memory

    def move_site(self) -> None:
        """Use the vdso's `syscall` instruction from now on."""
        self._site = self._find_site()

    def prepare(self, site: int = 0) -> None:
        """Make the stopped thread ready for `call`: remember registers and mask, block every signal.

        `site`: address of a `syscall` instruction; 0: one is looked for in the vdso. Raises OSError without one.
        """
        self.saved, self.saved_mask = self.registers(), self.mask()
        self.set_mask(ALL_SIGNALS)
        self._site = site or self._find_site()

    def _find_site(self) -> int:
        for mapping in read_mappings(self.tid):
            if mapping.name == "[vdso]":
                offset = self.read(mapping.start, mapping.end - mapping.start).find(_SYSCALL_INSTRUCTION)
                if offset >= 0:
                    return mapping.start + offset
        raise OSError(errno.ENOEXEC, f"no vdso with a system call instruction in {self.tid}")

    def call(self, number: Call, *arguments: int) -> int:
        """Have the thread perform a system call; return its result. Raises InjectedCallFailed, ProcessGone."""
        self._enter(number, arguments)
        self._step()
        result = self.registers().rax
        if result > WORD - 4095:
            code = WORD + 1 - result
            raise InjectedCallFailed(code, f"{number.name} by {self.tid}: {os.strerror(code)}")
        return result

    def leave(self, number: Call, *arguments: int) -> None:
        """Have the thread enter a call that does not return and detach from it there."""
        self._enter(number, arguments)
        self.detach()

    def clone(self, flags: int) -> Tracee:
        """Have the thread clone a thread; return it, stopped before its first instruction, with the same registers."""
        self._newborn = 0
        tid = self.call(Call.CLONE, flags, 0, 0, 0, 0)
        # The number the tracee sees may differ from ours; the kernel told ours in the clone event.
        return Tracee.adopt(self._newborn or tid)

    def _enter(self, number: Call, arguments: tuple[int, ...]) -> None:
        assert self.saved is not None
        registers = self.saved.copy()
        registers.rip, registers.rax, registers.orig_rax = self._site, int(number), WORD
        values = [value & WORD for value in (*arguments, *([0] * (6 - len(arguments))))]
        registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9 = values
        self.set_registers(registers)
        self._step()

    def _step(self) -> None:
        _ptrace(_SYSCALL, self.tid)
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            status = self._wait(deadline)
            received, event = os.WSTOPSIG(status), status >> 16
            if received == signal.SIGTRAP | 0x80:
                return
            if event == _EVENT_CLONE:
                message = ctypes.c_ulong()
                _ptrace(_GETEVENTMSG, self.tid, 0, ctypes.addressof(message))
                self._newborn = message.value
            elif event == 0 and received == signal.SIGSTOP:
                # SIGSTOP cannot be blocked: keep it for the caller, who sends it again after the detach.
                self.swallowed.append(received)
            _ptrace(_SYSCALL, self.tid)

    def unregister_rseq(self, rseq: Rseq) -> None:
        """Tell the kernel to forget the registration; without it the kernel would write to dropped memory."""
        if rseq.address:
            self.call(Call.RSEQ, rseq.address, rseq.size, _RSEQ_UNREGISTER, rseq.signature)

    def register_rseq(self, rseq: Rseq) -> None:
        """Register again what `unregister_rseq` took away."""
        if rseq.address:
            self.call(Call.RSEQ, rseq.address, rseq.size, 0, rseq.signature)

    def put_back(self) -> None:
        """Undo `prepare`: registers and mask as they were. A system call it was in is restarted by the kernel."""
        if self.saved is not None:
            self.set_registers(self.saved)
            self.set_mask(self.saved_mask)

    def detach(self, stop: bool = False) -> None:
        """Let the thread go; `stop`: with a SIGSTOP. Closes what we hold of it. Never raises for a dead thread."""
        self.close()
        try:
            _ptrace(_DETACH, self.tid, 0, int(signal.SIGSTOP) if stop else 0)
        except ProcessGone:
            self.reap()

    def reap(self) -> None:
        """Collect the end of a thread that died while traced, so that its parent is told; waits a moment for it."""
        deadline = time.monotonic() + _REAP_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                tid, status = os.waitpid(self.tid, _WALL | os.WNOHANG)
            except ChildProcessError:
                return
            if tid and not os.WIFSTOPPED(status):
                return
            time.sleep(0.001)

    def close(self) -> None:
        """Close the descriptor of its memory."""
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
