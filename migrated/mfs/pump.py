"""The guest end of MFS: moves whole FUSE messages between /dev/fuse and a stream.

Owns: the descriptor it is given. It closes it in every case when it ends, which turns every request that waits into
an error, so that no process of the guest hangs when home is gone. It looks at nothing but lengths, the kind of a
request (is an answer due?) and unsolicited messages, which are dropped: the kernel could block the pump on them.
"""

from __future__ import annotations

import enum
import errno
import os
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Final

from migrated.mfs.fuse_constants import UNANSWERED
from migrated.mfs.fuse_wire import REPLY_HEADER_BYTES

Stream = socket.socket | ssl.SSLSocket

MAX_REQUEST_BYTES: Final = (1 << 20) + (64 << 10)
"""Largest message in either direction: the kernel's largest write and room for its head."""
BATCH_BYTES: Final = 4 * MAX_REQUEST_BYTES
STALL_S: Final = 30.0
"""Default of how long home may owe an answer without sending anything."""
_READ_AGAIN: Final = (errno.ENOENT, errno.EINTR)
_FUSE_GONE: Final = (errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED, errno.EPERM, errno.EBADF)
_REQUEST: Final = struct.Struct("=IIQ")
_REPLY: Final = struct.Struct("=IiQ")
_WANT_READ: Final = (BlockingIOError, ssl.SSLWantReadError)
_ROUNDS: Final = 16


class PumpReason(enum.Enum):
    """Why a pump ended."""

    UNMOUNTED = "the file system was unmounted"
    HOME_GONE = "the home node closed the connection"
    STALLED = "the home node owed an answer for too long"
    STOPPED = "it was told to stop"
    BROKEN = "the home node sent something that is no FUSE reply"


@dataclass(frozen=True, slots=True)
class PumpEnd:
    """Outcome of a pump: why, how many requests and replies passed, how many replies the kernel refused."""

    reason: PumpReason
    requests: int
    replies: int
    refused: int


def pump(fuse_fd: int, stream: Stream, stop_fd: int | None = None, *, stall_s: float | None = STALL_S) -> PumpEnd:
    """Move messages until one side ends; blocks, meant for a process of its own.

    fuse_fd: from mount.open_device(), becomes non-blocking and is closed at the end; it must be the last copy for
    waiting processes to be freed. stream: connected (TLS handshake done), becomes non-blocking, stays open.
    stop_fd: ends the pump when readable. stall_s: seconds home may be silent while an answer is due, None: for ever.
    Network errors are an outcome, not an exception.
    """
    try:
        os.set_blocking(fuse_fd, False)
        if stream.family in (socket.AF_INET, socket.AF_INET6):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.setblocking(False)
        machine = _Pump(fuse_fd, stream, stop_fd, stall_s)
        reason = machine.run()
    finally:
        os.close(fuse_fd)
    return PumpEnd(reason, machine.requests, machine.replies, machine.refused)


class _Ended(Exception):
    def __init__(self, reason: PumpReason) -> None:
        self.reason = reason


class _Pump:
    def __init__(self, fuse_fd: int, stream: Stream, stop_fd: int | None, stall_s: float | None) -> None:
        self.fuse_fd = fuse_fd
        self.stream = stream
        self.secure = isinstance(stream, ssl.SSLSocket)
        self.stop_fd = stop_fd
        self.stall_s = stall_s
        self.requests = self.replies = self.refused = 0
        self.out = memoryview(bytearray(BATCH_BYTES))
        self.out_start = self.out_end = self.out_retry = 0
        self.inbox = memoryview(bytearray(BATCH_BYTES))
        self.in_end = 0
        self.due = 0
        self.send_wants_read = self.recv_wants_write = False
        self.heard_at = 0.0

    def run(self) -> PumpReason:
        poller = select.poll()
        fuse_fd, stream_fd = self.fuse_fd, self.stream.fileno()
        if self.stop_fd is not None:
            poller.register(self.stop_fd, select.POLLIN)
        fuse_mask = stream_mask = -1
        more = True
        try:
            while True:
                wanted = select.POLLIN if len(self.out) - self.out_end >= MAX_REQUEST_BYTES else 0
                if wanted != fuse_mask:
                    fuse_mask = wanted
                    poller.register(fuse_fd, wanted)
                wanted = select.POLLIN
                if self.recv_wants_write or (self.out_end > self.out_start and not self.send_wants_read):
                    wanted |= select.POLLOUT
                if wanted != stream_mask:
                    stream_mask = wanted
                    poller.register(stream_fd, wanted)
                events = poller.poll(0 if more else self._wait_ms())
                heard = more
                for fd, _ in events:
                    if fd == fuse_fd:
                        self._read_requests()
                    elif fd == stream_fd:
                        heard = True
                    else:
                        return PumpReason.STOPPED
                if self.out_end > self.out_start:
                    self._send()
                if heard:
                    more = self._receive()
                else:
                    self._check_stall()
        except _Ended as end:
            return end.reason

    def _wait_ms(self) -> int | None:
        if self.stall_s is None or self.due <= 0:
            return None
        return max(1, int((self.heard_at + self.stall_s - time.monotonic()) * 1000) + 1)

    def _check_stall(self) -> None:
        if self.stall_s is not None and self.due > 0 and time.monotonic() - self.heard_at >= self.stall_s:
            raise _Ended(PumpReason.STALLED)

    def _read_requests(self) -> None:
        out = self.out
        while len(out) - self.out_end >= MAX_REQUEST_BYTES:
            try:
                count = os.readv(self.fuse_fd, [out[self.out_end :]])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _READ_AGAIN:
                    continue
                raise _Ended(PumpReason.UNMOUNTED) from error
            if count == 0:
                raise _Ended(PumpReason.UNMOUNTED)
            opcode = _REQUEST.unpack_from(out, self.out_end)[1]
            self.out_end += count
            self.requests += 1
            if opcode not in UNANSWERED:
                self.due += 1
                if self.due == 1:
                    # Nobody else waits: most probably there is no second request, so save the look.
                    self.heard_at = time.monotonic()
                    return

    def _send(self) -> None:
        self.send_wants_read = False
        try:
            while self.out_start < self.out_end:
                # OpenSSL wants an unfinished write repeated with the very same bytes.
                end = self.out_retry or self.out_end
                self.out_retry = end
                count = self.stream.send(self.out[self.out_start : end])
                self.out_retry = 0
                self.out_start += count
        except (BlockingIOError, ssl.SSLWantWriteError):
            if not self.secure:
                self.out_retry = 0
            return
        except ssl.SSLWantReadError:
            self.send_wants_read = True
            return
        except OSError as error:
            raise _Ended(PumpReason.HOME_GONE) from error
        self.out_start = self.out_end = 0

    def _receive(self) -> bool:
        """Take in what is there; True when there may be more without the stream becoming readable."""
        self.recv_wants_write = False
        for _ in range(_ROUNDS):
            try:
                count = self.stream.recv_into(self.inbox[self.in_end :])
            except _WANT_READ:
                return False
            except ssl.SSLWantWriteError:
                self.recv_wants_write = True
                return False
            except OSError as error:
                raise _Ended(PumpReason.HOME_GONE) from error
            if count == 0:
                raise _Ended(PumpReason.HOME_GONE)
            self.in_end += count
            self._deliver()
            if self.in_end == 0 and not (isinstance(self.stream, ssl.SSLSocket) and self.stream.pending()):
                return False
        return True

    def _deliver(self) -> None:
        inbox, end = self.inbox, self.in_end
        start = 0
        if self.stall_s is not None:
            self.heard_at = time.monotonic()
        while end - start >= REPLY_HEADER_BYTES:
            length, _, unique = _REPLY.unpack_from(inbox, start)
            if not REPLY_HEADER_BYTES <= length <= MAX_REQUEST_BYTES:
                raise _Ended(PumpReason.BROKEN)
            if end - start < length:
                break
            if unique:
                self._reply(inbox[start : start + length])
            start += length
        if start:
            rest = end - start
            if rest:
                inbox[:rest] = inbox[start:end]
            self.in_end = rest

    def _reply(self, message: memoryview) -> None:
        self.replies += 1
        self.due -= 1
        try:
            os.write(self.fuse_fd, message)
        except OSError as error:
            if error.errno in _FUSE_GONE:
                raise _Ended(PumpReason.UNMOUNTED) from error
            # ENOENT: the caller was killed in the meantime. Anything else leaves that one caller waiting.
            if error.errno != errno.ENOENT:
                self.refused += 1
