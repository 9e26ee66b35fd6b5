"""Talking to a deputy: its signals come out, its orders go in.

Both ends of the channel live in the deputy, so a new shim can take over at any time: our end is copied out with
pidfd_getfd.  A process of the same user can get at it too, so what comes out is checked: it can only forge signals
and an end of that user's own process.
"""

from __future__ import annotations

import os
import socket
import struct

import msgspec

from migrated.deputy.hollow import Hollow
from migrated.jail.kernel import pidfd_getfd
from omprotocol.errors import MosixError

_SIGINFO_BYTES = 128
_OP_EXIT, _OP_DIE, _OP_STOP, _OP_PING = 1, 2, 3, 4
_BURST = 256


class DeputyGone(MosixError):
    """The deputy has ended: the original was killed."""

    def __init__(self, pid: int) -> None:
        super().__init__("no-such-process", f"Process {pid} has ended at home.", 255)


class ForwardedSignal(msgspec.Struct, frozen=True):
    """A signal that reached the original.  `raw` is its siginfo (signalfd's layout turned into siginfo_t's)."""

    signo: int
    code: int
    sender_pid: int
    sender_uid: int
    value: int
    raw: bytes


class DeputyChannel:
    """Our end of the channel of one deputy.  Non-blocking."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self._pid = pid
        self._end = end

    @classmethod
    def open(cls, pid: int, made: Hollow) -> DeputyChannel:
        """Copy our end out of the deputy.  Raises DeputyGone."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise DeputyGone(pid) from None
        try:
            end = socket.socket(fileno=pidfd_getfd(pidfd, made.channel[1]))
        except OSError:
            raise DeputyGone(pid) from None
        finally:
            os.close(pidfd)
        return cls(pid, end)

    def fileno(self) -> int:
        """For an event loop; readable when there are signals."""
        return self._end.fileno()

    def receive(self) -> list[ForwardedSignal]:
        """The signals that arrived since the last call, at most 256; what is no signal is dropped."""
        found: list[ForwardedSignal] = []
        while len(found) < _BURST:
            try:
                raw = self._end.recv(_SIGINFO_BYTES, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError, ConnectionResetError):
                return found
            if not raw:
                return found
            if len(raw) == _SIGINFO_BYTES and 0 < (signal := _parse(raw)).signo < 65:
                found.append(signal)
        return found

    def exit(self, status: int) -> None:
        """End the original with this exit status, 0-255."""
        self._order(_OP_EXIT, status & 0xFF)

    def die(self, signo: int) -> None:
        """End the original by this signal, 1-64."""
        self._order(_OP_DIE, signo)

    def stop(self, signo: int) -> None:
        """Stop the original by this signal, 1-64."""
        self._order(_OP_STOP, signo)

    def ping(self, timeout_s: float) -> bool:
        """Whether the deputy answers within `timeout_s` (blocks); a signal before it is lost and means no."""
        self._order(_OP_PING, 0)
        self._end.settimeout(timeout_s)
        try:
            return self._end.recv(_SIGINFO_BYTES) == b"A"
        except TimeoutError:
            return False

    def close(self) -> None:
        """Drop our end; the deputy keeps its two."""
        self._end.close()

    def _order(self, op: int, argument: int) -> None:
        try:
            self._end.send(struct.pack("ii", op, argument), socket.MSG_DONTWAIT)
        except OSError:
            return  # it has ended: whoever watches the process sees that


def _parse(raw: bytes) -> ForwardedSignal:
    """From struct signalfd_siginfo (signalfd(2))."""
    signo, errno_value, code, pid, uid = struct.unpack_from("IiiII", raw)
    (value,) = struct.unpack_from("Q", raw, 48)
    head = struct.pack("iii4xiIQ", signo, errno_value, code, _signed(pid), uid, value)
    return ForwardedSignal(
        signo=signo, code=code, sender_pid=pid, sender_uid=uid, value=value, raw=head.ljust(_SIGINFO_BYTES, b"\0")
    )


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
