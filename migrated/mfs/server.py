"""The home end of MFS: answers a guest kernel's requests from the files of this node.

Owns: the loop of one connection in one process, and the dispatch of requests. Everything is done inline, in
order: a slow disk delays this guest and nobody else. It never serves two connections, and never gives the guest
more rights than the process it runs in has. What arrives malformed gets an error, or ends this connection only.
"""

from __future__ import annotations

import enum
import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Final

from migrated.mfs import ops_attributes, ops_directories, ops_files, ops_names
from migrated.mfs.fuse_constants import UNANSWERED, InitFlag, Opcode
from migrated.mfs.fuse_init import InitChoice, agree, parse_init
from migrated.mfs.fuse_structs import HEADER, REPLY_HEADER, Header, WireError
from migrated.mfs.fuse_wire import HEADER_BYTES, REPLY_HEADER_BYTES, message_length
from migrated.mfs.heartbeat import Heartbeat
from migrated.mfs.session import Operation, ServerOptions, Session
from migrated.mfs.view import View

_FLAGS: Final = (
    InitFlag.ASYNC_READ
    | InitFlag.ATOMIC_O_TRUNC
    | InitFlag.EXPORT_SUPPORT
    | InitFlag.DONT_MASK
    | InitFlag.AUTO_INVAL_DATA
    | InitFlag.DO_READDIRPLUS
    | InitFlag.READDIRPLUS_AUTO
    | InitFlag.ASYNC_DIO
    | InitFlag.PARALLEL_DIROPS
    | InitFlag.ABORT_ERROR
    | InitFlag.CACHE_SYMLINKS
    | InitFlag.HANDLE_KILLPRIV_V2
)
_SLACK_BYTES: Final = 64 << 10
"""Room for the head of a request or reply around its data, and for the longest xattr."""
_REQUESTS_AHEAD: Final = 4

_OPERATIONS: Final[dict[int, Operation]] = {
    **ops_names.OPERATIONS,
    **ops_attributes.OPERATIONS,
    **ops_files.OPERATIONS,
    **ops_directories.OPERATIONS,
}

_LOOKING: Final = frozenset(
    {
        Opcode.LOOKUP, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.GETATTR, Opcode.STATX, Opcode.READLINK, Opcode.READ,
        Opcode.STATFS, Opcode.RELEASE, Opcode.FSYNC, Opcode.GETXATTR, Opcode.LISTXATTR, Opcode.FLUSH, Opcode.INIT,
        Opcode.OPENDIR, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.RELEASEDIR, Opcode.FSYNCDIR, Opcode.GETLK,
        Opcode.ACCESS, Opcode.INTERRUPT, Opcode.BMAP, Opcode.DESTROY, Opcode.POLL, Opcode.LSEEK, Opcode.SYNCFS,
    }
)  # fmt: skip
"""Requests that leave everything at home as it is; an OPEN does unless it truncates."""


class ServeEnd(enum.Enum):
    """Why serve() came back."""

    GUEST_GONE = "the guest's node closed the connection"
    UNMOUNTED = "the guest's node unmounted the file system"
    BROKEN = "the guest's node sent something that is no FUSE request"


class Connection:
    """Requests in, replies out, for one session; knows nothing of the stream they travel on."""

    def __init__(self, session: Session, before_change: Callable[[], None] | None = None) -> None:
        self.session = session
        self.before_change = before_change
        self.ended = False
        self.refused = 0
        limit = session.options.max_write + _SLACK_BYTES
        self.max_message = limit
        self._out = bytearray(_REQUESTS_AHEAD * limit)
        self._view = memoryview(self._out)
        self._used = 0

    @property
    def full(self) -> bool:
        """True when replies must be taken away before the next request."""
        return self._used + self.max_message > len(self._out)

    def take(self) -> memoryview:
        """The replies made since the last take(); valid until the next answer()."""
        replies = self._view[: self._used]
        self._used = 0
        return replies

    def answer(self, message: memoryview) -> None:
        """Carry out one whole request and append its reply; raises WireError only for a broken header."""
        header = HEADER.unpack(message)
        opcode = header.opcode
        session = self.session
        session.nodes.trim(len(session.files) + len(session.directories))
        end = len(message) - 8 * header.extlen
        if end < HEADER_BYTES:
            raise WireError("extensions longer than the message")
        body = message[HEADER_BYTES:end]
        if self.before_change is not None and _changes_something(opcode, body):
            self.before_change()
        try:
            if opcode == Opcode.READ:
                room = self._view[self._used + REPLY_HEADER_BYTES : self._used + self.max_message]
                self._reply(header, ops_files.read_into(session, body, room), 0)
                return
            operation = _OPERATIONS.get(opcode)
            if operation is not None:
                reply = operation(session, header, body)
            elif opcode == Opcode.INIT:
                reply = self._init(body)
            elif opcode == Opcode.DESTROY:
                self.ended = True
                reply = b""
            else:
                raise OSError(errno.ENOSYS, "not an operation of this server")
            if opcode in UNANSWERED:
                return
            size = len(reply)
            start = self._used + REPLY_HEADER_BYTES
            if start + size > len(self._out):
                raise OSError(errno.EIO, "a reply longer than agreed")
            self._view[start : start + size] = reply
            self._reply(header, size, 0)
        except OSError as error:
            self._fail(header, error.errno or errno.EIO)
        except (ValueError, OverflowError):
            self.refused += 1
            self._fail(header, errno.EINVAL)

    def _fail(self, header: Header, error: int) -> None:
        if header.opcode not in UNANSWERED:
            self._reply(header, 0, -error)

    def _reply(self, header: Header, size: int, error: int) -> None:
        length = REPLY_HEADER_BYTES + size
        self._view[self._used : self._used + REPLY_HEADER_BYTES] = REPLY_HEADER.pack(length, error, header.unique)
        self._used += length

    def _init(self, body: memoryview) -> bytes:
        options = self.session.options
        flags = _FLAGS
        if options.writeback:
            flags |= InitFlag.WRITEBACK_CACHE
        if options.posix_acl:
            flags |= InitFlag.POSIX_ACL
        agreement = agree(
            parse_init(body),
            InitChoice(
                flags,
                max_write=options.max_write,
                max_readahead=options.max_readahead,
                request_timeout_s=options.request_timeout_s,
            ),
        )
        self.session.flags = agreement.flags
        return agreement.body


def _changes_something(opcode: int, body: memoryview) -> bool:
    if opcode == Opcode.OPEN:
        return bool(int.from_bytes(body[:4], "little") & os.O_TRUNC)
    return opcode not in _LOOKING


def serve(
    stream: socket.socket | ssl.SSLSocket,
    view: View,
    options: ServerOptions | None = None,
    before_change: Callable[[], None] | None = None,
) -> ServeEnd:
    """Serve the guest at the other end of `stream` until it is gone. Blocks; needs a process of its own.

    The process becomes the user of `view` and enters its root for good, keeps /proc/self/fd as its working directory
    and must have no other thread. `stream` is blocking and stays open. `before_change` is called before each request
    that can change anything at home is carried out. Raises OSError or MosixError when the view
    cannot be entered.
    """
    options = options or ServerOptions()
    _raise_fd_limit()
    root_fd, flush_matters = view.enter()
    stream.settimeout(None)
    if stream.family in (socket.AF_INET, socket.AF_INET6):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    session = Session(root_fd, options, flush=flush_matters if options.flush is None else options.flush)
    try:
        with Heartbeat(stream, options.heartbeat_s) as heartbeat:
            return _loop(stream, Connection(session, before_change), heartbeat)
    finally:
        session.close()


def _loop(stream: socket.socket | ssl.SSLSocket, connection: Connection, heartbeat: Heartbeat) -> ServeEnd:
    lock = heartbeat.stream_lock
    data = bytearray(_REQUESTS_AHEAD * connection.max_message)
    window = memoryview(data)
    filled = 0
    try:
        while True:
            count = stream.recv_into(window[filled:])
            if count == 0:
                return ServeEnd.GUEST_GONE
            filled += count
            start = 0
            while filled - start >= HEADER_BYTES:
                length = message_length(window, start)
                if not HEADER_BYTES <= length <= connection.max_message:
                    return ServeEnd.BROKEN
                if filled - start < length:
                    break
                heartbeat.served += 1
                lock.release()
                try:
                    connection.answer(window[start : start + length])
                finally:
                    lock.acquire()
                start += length
                if connection.full:
                    stream.sendall(connection.take())
            replies = connection.take()
            if len(replies):
                stream.sendall(replies)
            if connection.ended:
                return ServeEnd.UNMOUNTED
            if start:
                rest = filled - start
                window[:rest] = window[start:filled]
                filled = rest
    except WireError:
        return ServeEnd.BROKEN
    except OSError:
        return ServeEnd.GUEST_GONE


def _raise_fd_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
