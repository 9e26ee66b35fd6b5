"""The home shim's end of the channel to a deputy: signals come in, orders go out.

Both ends live in the deputy, so the channel can be opened at any time, also after a restart of the shim. Any
process of the same user can write into it: every message is checked and what is malformed is dropped. Never blocks.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time

import msgspec

from migrated.deputy.error import ProcessGone
from migrated.deputy.hollow import Hollow
from migrated.deputy.ptrace import own_call

_SYS_PIDFD_GETFD = 438
_SIGNAL_BYTES = 128
_PONG_BYTES = 8
_SIGNO_MAX = 64
_OP_EXIT, _OP_DIE, _OP_STOP, _OP_PING = 1, 2, 3, 4
# One call of receive() takes at most so many messages, so that a flood cannot hold the shim.
_BATCH = 1024


class ForwardedSignal(msgspec.Struct, frozen=True):
    """A signal the original received at home.

    `raw`: 128-byte siginfo_t as rt_sigqueueinfo(2) takes it; `code`: SI_USER 0, SI_QUEUE -1, SI_KERNEL 128 and so on.
    """

    signo: int
    code: int
    sender_pid: int
    sender_uid: int
    value: int
    raw: bytes


def parse_signal(message: bytes) -> ForwardedSignal | None:
    """Parse a signalfd_siginfo; None when it is malformed."""
    if len(message) != _SIGNAL_BYTES:
        return None
    signo, error, code, pid, uid = struct.unpack_from("=IiiII", message)
    (value,) = struct.unpack_from("=Q", message, 48)
    if not 1 <= signo <= _SIGNO_MAX or signo in (signal.SIGKILL, signal.SIGSTOP):
        return None
    raw = struct.pack("=iiiiIIQ", signo, error, code, 0, pid, uid, value).ljust(_SIGNAL_BYTES, b"\0")
    return ForwardedSignal(signo, code, pid, uid, value, raw)


class DeputyChannel:
    """One open channel; close() when done (the deputy does not notice)."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self.pid = pid
        self._pongs = 0
        self._kept: list[ForwardedSignal] = []
        self.malformed = 0

    @classmethod
    def open(cls, pid: int, hollow: Hollow) -> DeputyChannel:
        """Take the shim's end out of the deputy. Raises ProcessGone, OSError (EBADF: it is no deputy)."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise ProcessGone(pid) from error
        try:
            fd = own_call(_SYS_PIDFD_GETFD, pidfd, hollow.shim_fd, 0)
        except ProcessLookupError as error:
            raise ProcessGone(pid) from error
        finally:
            os.close(pidfd)
        sock = socket.socket(fileno=fd)
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET:
            sock.close()
            raise OSError(f"descriptor {hollow.shim_fd} of process {pid} is not a deputy's channel")
        return cls(sock, pid)

    def fileno(self) -> int:
        """Descriptor that becomes readable when signals wait; read until receive() returns nothing."""
        return self._socket.fileno()

    def receive(self) -> list[ForwardedSignal]:
        """The signals that have arrived, oldest first. Malformed messages are counted and dropped."""
        kept, self._kept = self._kept, []
        return kept + self._read()

    def _read(self) -> list[ForwardedSignal]:
        found: list[ForwardedSignal] = []
        for _ in range(_BATCH):
            try:
                message = self._socket.recv(4096, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                break
            if not message:
                break
            if len(message) == _PONG_BYTES and message[:4] == struct.pack("=i", _OP_PING):
                self._pongs += 1
            elif (forwarded := parse_signal(message)) is not None:
                found.append(forwarded)
            else:
                self.malformed += 1
        return found

    def exit(self, code: int) -> None:
        """Have the original end with exit status `code` (0-255)."""
        if not 0 <= code <= 255:
            raise ValueError(f"exit status {code} is not in 0-255")
        self._order(_OP_EXIT, code)

    def die(self, signo: int) -> None:
        """Have the original die of the signal, without a core file."""
        self._order(_OP_DIE, _checked(signo))

    def stop(self, signo: int) -> None:
        """Have the original stop by the signal's default action, so that its parent is told."""
        self._order(_OP_STOP, _checked(signo))

    def ping(self, timeout_s: float = 5.0) -> bool:
        """Have the deputy answer; blocks up to `timeout_s`. Signals met on the way are kept for receive().

        Returns False when no answer came: the deputy is stopped or gone.
        """
        before = self._pongs
        self._order(_OP_PING, 0)
        deadline = time.monotonic() + timeout_s
        while self._pongs == before:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return False
            self._kept += self._read()
        return True

    def close(self) -> None:
        """Close this end; the deputy keeps its own."""
        self._socket.close()

    def _order(self, operation: int, argument: int) -> None:
        self._socket.send(struct.pack("=ii", operation, argument), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _checked(signo: int) -> int:
    if not 1 <= signo <= _SIGNO_MAX:
        raise ValueError(f"{signo} is not a signal")
    return signo
