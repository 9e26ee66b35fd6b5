"""ptrace by ctypes, x86-64: seize, stop, look at and steer the threads of another process.

All calls on one tracee must come from the thread that seized it.  A tracee may be killed at any time: every call
then raises ProcessGone.  Source: ptrace(2), linux/ptrace.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import struct
import time
from pathlib import Path

from omprotocol.errors import MosixError

_CONT, _DETACH, _SYSCALL = 7, 17, 24
_GETREGS, _SETREGS = 12, 13
_GETREGSET, _SETREGSET, _SEIZE, _INTERRUPT = 0x4204, 0x4205, 0x4206, 0x4207
_PEEKSIGINFO, _GETSIGMASK, _SETSIGMASK, _GET_RSEQ = 0x4209, 0x420A, 0x420B, 0x420F
_O_TRACESYSGOOD, _O_EXITKILL = 0x1, 0x100000
_NT_X86_XSTATE = 0x202
_EVENT_STOP = 128
_WALL = 0x40000000
_XSTATE_BYTES = 16384
_SIGINFO_BYTES = 128
_SYSCALL_CODE = b"\x0f\x05"
_STOP_LIMIT_S = 10.0
_WAIT_POLL_S = 0.0002
ALL_SIGNALS = 0xFFFFFFFFFFFFFFFF
_NAMES = re.findall(
    r"\w+",
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
    " fs_base gs_base ds es fs gs",
)

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class ProcessGone(MosixError):
    """The traced process has ended."""

    def __init__(self, tid: int) -> None:
        super().__init__("no-such-process", f"Process or thread {tid} has ended.", 255)


class StepFailed(MosixError):
    """The tracee did not do what it was steered to."""

    def __init__(self, tid: int, why: str) -> None:
        super().__init__("ptrace-failed", f"Thread {tid} could not be steered: {why}.", 255)


class Registers(ctypes.Structure):
    """struct user_regs_struct of x86-64."""

    _fields_ = [(name, ctypes.c_uint64) for name in _NAMES]

    def copy(self) -> Registers:
        """An independent copy."""
        return Registers.from_buffer_copy(self)


class Tracee:
    """One seized thread.  `held`: stop signals that came on the way and were not delivered."""

    def __init__(self, tid: int, *, kill_on_exit: bool = False) -> None:
        self.tid = tid
        self.held: list[int] = []
        self._site = 0
        self._saved_code = b""
        self._saved_registers: Registers | None = None
        self._saved_mask = 0
        self._memory = -1
        options = _O_TRACESYSGOOD | (_O_EXITKILL if kill_on_exit else 0)
        self._call(_SEIZE, 0, options)

    def interrupt(self) -> None:
        """Stop the thread; returns when it is stopped."""
        send_interrupt(self)
        self.wait_stopped()

    def wait_stopped(self) -> None:
        """Wait until an interrupt that was sent has stopped the thread."""
        while True:
            status = self._wait()
            if status >> 16 == _EVENT_STOP:
                return
            self._call(_CONT, 0, os.WSTOPSIG(status))  # a signal that was on its way: let the thread take it

    def registers(self) -> Registers:
        """General registers."""
        registers = Registers()
        self._call(_GETREGS, 0, ctypes.addressof(registers))
        return registers

    def set_registers(self, registers: Registers) -> None:
        """Set the general registers."""
        self._call(_SETREGS, 0, ctypes.addressof(registers))

    def xstate(self) -> bytes:
        """FPU, SSE, AVX state as the kernel gives it."""
        buffer = ctypes.create_string_buffer(_XSTATE_BYTES)
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), _XSTATE_BYTES)
        self._call(_GETREGSET, _NT_X86_XSTATE, ctypes.addressof(vector))
        return buffer.raw[: vector[1]]

    def set_xstate(self, state: bytes) -> None:
        """Set what `xstate` gave."""
        buffer = ctypes.create_string_buffer(state, len(state))
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), len(state))
        self._call(_SETREGSET, _NT_X86_XSTATE, ctypes.addressof(vector))

    def signal_mask(self) -> int:
        """Blocked signals, bit n-1 for signal n."""
        mask = ctypes.c_uint64()
        self._call(_GETSIGMASK, 8, ctypes.addressof(mask))
        return mask.value

    def set_signal_mask(self, mask: int) -> None:
        """Set the blocked signals."""
        value = ctypes.c_uint64(mask)
        self._call(_SETSIGMASK, 8, ctypes.addressof(value))

    def rseq(self) -> tuple[int, int, int]:
        """Address, size and signature of the restartable-sequences area; address 0 when there is none."""
        buffer = ctypes.create_string_buffer(24)
        try:
            self._call(_GET_RSEQ, 24, ctypes.addressof(buffer))
        except OSError:
            return 0, 0, 0
        address, size, signature = struct.unpack("QII", buffer.raw[:16])
        return address, size, signature

    def pending(self, *, shared: bool) -> list[bytes]:
        """The siginfo of every queued signal of the thread, or of the whole process."""
        found: list[bytes] = []
        while True:
            arguments = ctypes.create_string_buffer(struct.pack("QIi", len(found), int(shared), 32), 16)
            buffer = ctypes.create_string_buffer(_SIGINFO_BYTES * 32)
            count = self._call(_PEEKSIGINFO, ctypes.addressof(arguments), ctypes.addressof(buffer))
            found += [buffer.raw[i * _SIGINFO_BYTES : (i + 1) * _SIGINFO_BYTES] for i in range(count)]
            if count < 32:
                return found

    def read(self, address: int, count: int) -> bytes:
        """Memory of the process."""
        return os.pread(self._open_memory(), count, address)

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write memory, read-only mappings too."""
        done = 0
        while done < len(data):
            done += os.pwrite(self._open_memory(), data[done:], address + done)

    def prepare(self, site: int | None = None) -> None:
        """Block every signal, remember registers and mask, and plant a system call instruction at `site`.

        Without `site` the first executable mapping of a file serves; `restore` puts it back.
        """
        self._saved_registers = self.registers()
        self._saved_mask = self.signal_mask()
        self.set_signal_mask(ALL_SIGNALS)
        self.plant(site if site is not None else _executable_address(self.tid))

    def plant(self, site: int) -> None:
        """Use `site` for system calls from now on; its code is remembered."""
        self._site = site
        self._saved_code = self.read(site, len(_SYSCALL_CODE))
        if self._saved_code != _SYSCALL_CODE:
            self.write(site, _SYSCALL_CODE)

    def plant_program(self) -> None:
        """Use a place in the program's own code for system calls again."""
        self.unplant()
        self.plant(_executable_address(self.tid))

    def unplant(self) -> None:
        """Put the code at the site back."""
        if self._site and self._saved_code != _SYSCALL_CODE:
            self.write(self._site, self._saved_code)
        self._site = 0

    def restore(self) -> None:
        """Undo `prepare`: code, registers, mask."""
        self.unplant()
        if self._saved_registers is not None:
            self.set_registers(self._saved_registers)
            self.set_signal_mask(self._saved_mask)

    @property
    def saved_registers(self) -> Registers:
        """The registers at `prepare`."""
        assert self._saved_registers is not None
        return self._saved_registers

    @property
    def saved_mask(self) -> int:
        """The signal mask at `prepare`."""
        return self._saved_mask

    def system_call(self, number: int, *arguments: int) -> int:
        """Have the thread make a system call; returns its result.  Raises OSError with the call's errno."""
        self._enter(number, arguments)
        self._step()
        result: int = self.registers().rax
        if result > ALL_SIGNALS - 4095:
            code = ALL_SIGNALS + 1 - result
            raise OSError(code, f"injected system call {number}: {os.strerror(code)}")
        return result

    def last_call(self, number: int, *arguments: int) -> None:
        """Have the thread enter a system call that does not return, and let it go."""
        self._enter(number, arguments)
        self.detach()

    def detach(self) -> None:
        """Let the thread go; a held SIGSTOP is sent again by the caller."""
        self._call(_DETACH)
        self.close()

    def close(self) -> None:
        """Close our descriptor of the memory."""
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _enter(self, number: int, arguments: tuple[int, ...]) -> None:
        registers = self.saved_registers.copy()
        padded = [*arguments, *[0] * (6 - len(arguments))]
        registers.rip = self._site
        registers.rax = number
        registers.orig_rax = ALL_SIGNALS
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), padded, strict=True):
            setattr(registers, name, value & ALL_SIGNALS)
        self.set_registers(registers)
        self._step()

    def _step(self) -> None:
        """To the next entry or exit of a system call."""
        self._call(_SYSCALL)
        while True:
            status = self._wait()
            stop, event = os.WSTOPSIG(status), status >> 16
            if stop == signal.SIGTRAP | 0x80:
                return
            if event == 0 and stop == signal.SIGSTOP:
                self.held.append(stop)
            elif event != _EVENT_STOP:
                raise StepFailed(self.tid, f"stopped by signal {stop}")
            self._call(_SYSCALL)

    def _wait(self) -> int:
        deadline = time.monotonic() + _STOP_LIMIT_S
        while True:
            try:
                tid, status = os.waitpid(self.tid, _WALL | os.WNOHANG)
            except ChildProcessError:
                raise ProcessGone(self.tid) from None
            if tid:
                if not os.WIFSTOPPED(status):
                    raise ProcessGone(self.tid)
                return status
            if time.monotonic() > deadline:
                raise StepFailed(self.tid, f"it did not stop within {_STOP_LIMIT_S:g} s")
            time.sleep(_WAIT_POLL_S)

    def _open_memory(self) -> int:
        if self._memory < 0:
            try:
                self._memory = os.open(f"/proc/{self.tid}/mem", os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise ProcessGone(self.tid) from None
        return self._memory

    def _call(self, request: int, address: int = 0, data: int = 0) -> int:
        ctypes.set_errno(0)
        result: int = _ptrace(request, self.tid, address, data)
        if result < 0:
            code = ctypes.get_errno()
            if code == errno.ESRCH:
                raise ProcessGone(self.tid)
            if code:
                raise OSError(code, f"ptrace {request:#x} on {self.tid}: {os.strerror(code)}")
        return result


def send_interrupt(tracee: Tracee) -> None:
    """Ask a seized thread to stop, without waiting: a frozen one stops when it is thawed."""
    tracee._call(_INTERRUPT)


def threads_of(pid: int) -> list[int]:
    """Thread ids of a process, the leader first.  Raises ProcessGone."""
    try:
        tids = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        raise ProcessGone(pid) from None
    return sorted(tids, key=lambda tid: (tid != pid, tid))


def seize_all(pid: int, *, kill_on_exit: bool = False) -> list[Tracee]:
    """Seize and stop every thread of `pid`, also those that appear meanwhile; the leader first.

    Raises ProcessGone, StepFailed with everything let go again.
    """
    seized: dict[int, Tracee] = {}
    try:
        while missing := [tid for tid in threads_of(pid) if tid not in seized]:
            for tid in missing:
                try:
                    tracee = Tracee(tid, kill_on_exit=kill_on_exit)
                except ProcessGone:
                    if tid == pid:
                        raise
                    continue
                seized[tid] = tracee
                tracee.interrupt()
    except BaseException:
        let_go(list(seized.values()))
        raise
    return sorted(seized.values(), key=lambda tracee: (tracee.tid != pid, tracee.tid))


def let_go(tracees: list[Tracee]) -> None:
    """Detach every thread that is still there."""
    for tracee in tracees:
        try:
            tracee.detach()
        except (ProcessGone, OSError):
            tracee.close()


def _executable_address(tid: int) -> int:
    for line in Path(f"/proc/{tid}/maps").read_text(errors="replace").splitlines():
        fields = line.split(None, 5)
        name = fields[5] if len(fields) > 5 else ""
        if "x" in fields[1] and name not in ("[vsyscall]", "[vdso]"):
            return int(fields[0].split("-")[0], 16)
    raise StepFailed(tid, "it has no executable memory")
