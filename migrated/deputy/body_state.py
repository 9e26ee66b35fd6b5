"""Everything of a body but its memory, as it travels home.

Plain data; encoded as msgpack. Thread ids and descriptors are numbers as the body sees them.
"""

from __future__ import annotations

import msgspec

from migrated.deputy.mappings import Mapping


class ThreadState(msgspec.Struct, array_like=True):
    """One thread. `registers`: struct user_regs_struct; `alternate_stack`: stack_t; `pending`: siginfo each."""

    tid: int
    name: bytes
    registers: bytes
    xstate: bytes
    mask: int
    rseq: tuple[int, int, int]
    alternate_stack: bytes
    robust_list: tuple[int, int]
    clear_tid: int
    pending: list[bytes]


class OpenFile(msgspec.Struct, array_like=True):
    """One descriptor. `kind`: file, directory, device, tty, pipe, socket, anonymous; `twin`: the lowest descriptor
    of the same open file description; `details`: what else tells whether two event descriptors are alike;
    `inode`: its number, for a file the same at home and through MFS.
    """

    fd: int
    link: str
    kind: str
    flags: int
    offset: int
    twin: int
    details: list[str]
    inode: int = 0


class Timer(msgspec.Struct, array_like=True):
    """A POSIX timer as it must be armed: `setting` is struct itimerspec."""

    number: int
    clock: int
    notify: int
    signo: int
    value: int
    tid: int
    setting: bytes


class BodyState(msgspec.Struct):
    """A stopped process without its memory."""

    pid: int
    threads: list[ThreadState]
    mappings: list[Mapping]
    vdso_digest: bytes
    brk: int
    actions: dict[int, bytes]
    interval_timers: list[bytes]
    timers: list[Timer]
    pending: list[bytes]
    files: list[OpenFile]
    cwd: str
    umask: int
    limits: dict[int, tuple[int, int]]
    dumpable: int
    nice: int


def encode_state(state: BodyState) -> bytes:
    """Encode for the wire."""
    return msgspec.msgpack.encode(state)


def decode_state(data: bytes) -> BodyState:
    """Decode what another node sent. Raises msgspec.ValidationError, msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=BodyState)
