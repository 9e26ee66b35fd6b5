"""The x86-64 kernel interface the deputy room speaks: registers as ptrace gives them, system call numbers.

Numbers from arch/x86/entry/syscalls/syscall_64.tbl, the register layout from struct user_regs_struct.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

PAGE_BYTES = 4096
# End of the user half of the address space; [vsyscall] lies beyond it and belongs to nobody.
TASK_TOP = 1 << 47
WORD = 0xFFFF_FFFF_FFFF_FFFF
ALL_SIGNALS = WORD

_NAMES = [
    "r15",
    "r14",
    "r13",
    "r12",
    "rbp",
    "rbx",
    "r11",
    "r10",
    "r9",
    "r8",
    "rax",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "orig_rax",
    "rip",
    "cs",
    "eflags",
    "rsp",
    "ss",
    "fs_base",
    "gs_base",
    "ds",
    "es",
    "fs",
    "gs",
]


class Registers(ctypes.Structure):
    """The general registers of a stopped thread."""

    _fields_ = [(name, ctypes.c_ulong) for name in _NAMES]

    rax: int
    rip: int
    rsp: int
    rdi: int
    rsi: int
    rdx: int
    r10: int
    r8: int
    r9: int
    orig_rax: int
    eflags: int
    fs_base: int

    def copy(self) -> Registers:
        """Return registers of the same content that share nothing with these."""
        return Registers.from_buffer_copy(self)


class Call(IntEnum):
    """System calls that are injected."""

    OPEN = 2
    CLOSE = 3
    LSEEK = 8
    MMAP = 9
    MPROTECT = 10
    MUNMAP = 11
    BRK = 12
    RT_SIGACTION = 13
    PIPE2 = 293
    MADVISE = 28
    DUP3 = 292
    GETITIMER = 36
    SETITIMER = 38
    SOCKETPAIR = 53
    CLONE = 56
    EXIT = 60
    FCNTL = 72
    CHDIR = 80
    UMASK = 95
    RT_SIGQUEUEINFO = 129
    SIGALTSTACK = 131
    SETPRIORITY = 141
    MUNLOCK = 150
    PRCTL = 157
    SET_TID_ADDRESS = 218
    TIMER_CREATE = 222
    TIMER_SETTIME = 223
    TIMER_GETTIME = 224
    TIMER_DELETE = 226
    SET_ROBUST_LIST = 273
    GET_ROBUST_LIST = 274
    SIGNALFD4 = 289
    RT_TGSIGQUEUEINFO = 297
    PRLIMIT64 = 302
    RSEQ = 334
