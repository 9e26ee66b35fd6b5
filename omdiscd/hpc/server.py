"""Serves the hpc tree to the kernel: FUSE requests in, answers out, on the daemon's own loop.

Owns the /dev/fuse descriptor's traffic, open files and waiting requests. Quick answers are given at once; a
file that must wait is a task that FUSE_INTERRUPT cancels, so nobody hangs on it and it hangs nobody. Must
never touch a path below its own mount point.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable
from dataclasses import dataclass

from migrated.mfs import fuse_structs as fs
from migrated.mfs.fuse_constants import UNANSWERED, InitFlag, Opcode
from migrated.mfs.fuse_init import InitChoice, agree, parse_init
from migrated.mfs.fuse_wire import HEADER_BYTES, error_reply, forgets, reply
from omdiscd.hpc.answers import Answers
from omdiscd.hpc.errno_of import errno_of
from omdiscd.hpc.tree import Directory, Visitor
from omprotocol.errors import MosixError

log = logging.getLogger(__name__)

MAX_WRITE_BYTES = 65536
READ_BUFFER_BYTES = MAX_WRITE_BYTES + 8192
REQUESTS_PER_TURN = 32
"""Requests taken before the loop gets its turn again."""
MAX_WAITING = 256
"""Requests that wait at the same time, twice as many for root; more are told to try again."""
_GONE = (errno.ENODEV, errno.EBADF)
_CHOICE = InitChoice(
    flags=InitFlag.ATOMIC_O_TRUNC | InitFlag.PARALLEL_DIROPS,
    max_write=MAX_WRITE_BYTES,
    max_readahead=0,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the kernel, with its body still packed."""

    head: fs.Header
    body: memoryview

    @property
    def visitor(self) -> Visitor:
        return Visitor(self.head.uid, self.head.gid, self.head.pid)


class HpcServer:
    """Serves `root` on the FUSE descriptor `fd`, which stays the caller's."""

    def __init__(self, fd: int, root: Directory) -> None:
        self._fd = fd
        self._answers = Answers(root)
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._ended = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Requests that wait for something at this moment."""
        return len(self._waiting)

    async def run(self) -> None:
        """Serve until the file system is unmounted, or cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            loop.add_reader(self._fd, self._readable)
            try:
                await self._ended.wait()
            finally:
                loop.remove_reader(self._fd)
                for task in self._waiting.values():
                    task.cancel()

    def _readable(self) -> None:
        for _ in range(REQUESTS_PER_TURN):
            try:
                data = os.read(self._fd, READ_BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                if error.errno not in _GONE:
                    log.warning("hpc.read_failed", extra={"error": error.strerror})
                self._ended.set()
                return
            self._take(data)
        # The descriptor may not be reported again while it stays readable: come back in the next turn.
        asyncio.get_running_loop().call_soon(self._readable_again)

    def _readable_again(self) -> None:
        if not self._ended.is_set() and self._tasks is not None:
            self._readable()

    def _take(self, data: bytes) -> None:
        try:
            head = fs.HEADER.unpack(data)
        except fs.WireError:
            return
        request = Request(head, memoryview(data)[HEADER_BYTES:])
        if head.opcode in UNANSWERED:
            self._unanswered(request)
            return
        if len(self._waiting) >= (MAX_WAITING if head.uid else 2 * MAX_WAITING) or self._tasks is None:
            self._send(error_reply(head.unique, errno.EAGAIN))
            return
        try:
            answer = self._answer(request)
        except Exception as error:
            self._send(error_reply(head.unique, _errno(error)))
            return
        if isinstance(answer, bytes):
            self._send(reply(head.unique, answer))
        else:
            task = self._tasks.create_task(self._wait(head.unique, answer), name=f"hpc {head.unique}")
            self._waiting[head.unique] = task

    def _unanswered(self, request: Request) -> None:
        try:
            if request.head.opcode == Opcode.INTERRUPT:
                unique = fs.INTERRUPT_IN.unpack(request.body).value
                # Behind the first step of a task made in this turn: what never began cannot end cleanly.
                asyncio.get_running_loop().call_soon(self._interrupt, unique)
            elif request.head.opcode == Opcode.FORGET:
                count = fs.FORGET_IN.unpack(request.body).value
                self._answers.inodes.forget(request.head.nodeid, count)
            else:
                for one in forgets(request.body):
                    self._answers.inodes.forget(one.nodeid, one.nlookup)
        except fs.WireError:
            return

    def _interrupt(self, unique: int) -> None:
        task = self._waiting.get(unique)
        if task is not None:
            task.cancel()

    async def _wait(self, unique: int, answer: Awaitable[bytes]) -> None:
        try:
            message = reply(unique, await answer)
        except asyncio.CancelledError:
            # Interrupted by the visitor, or the daemon ends: either way the visitor must not wait on.
            message = error_reply(unique, errno.EINTR)
        except Exception as error:
            message = error_reply(unique, _errno(error))
        self._waiting.pop(unique, None)
        self._send(message)

    def _send(self, message: bytes) -> None:
        try:
            os.write(self._fd, message)
        except OSError as error:
            # ENOENT: the visitor was killed and its request is gone.
            if error.errno != errno.ENOENT and error.errno not in _GONE:
                log.warning("hpc.write_failed", extra={"error": error.strerror})

    def _answer(self, request: Request) -> bytes | Awaitable[bytes]:
        head, body, answers = request.head, request.body, self._answers
        match head.opcode:
            case Opcode.INIT:
                return agree(parse_init(body), _CHOICE).body
            case Opcode.LOOKUP:
                return answers.look_up(head.nodeid, bytes(body), request.visitor)
            case Opcode.GETATTR:
                return answers.attributes(head.nodeid, request.visitor)
            case Opcode.SETATTR:
                return answers.set_attributes(head.nodeid, fs.SETATTR_IN.unpack(body).valid, request.visitor)
            case Opcode.OPEN | Opcode.OPENDIR:
                flags = fs.OPEN_IN.unpack(body).flags
                return answers.open(head.nodeid, flags, head.opcode == Opcode.OPENDIR, request.visitor)
            case Opcode.READ:
                return answers.read(head.nodeid, fs.READ_IN.unpack(body), request.visitor)
            case Opcode.WRITE:
                return answers.write(head.nodeid, body, request.visitor)
            case Opcode.READDIR:
                return answers.list(head.nodeid, fs.READ_IN.unpack(body), request.visitor)
            case Opcode.RELEASE | Opcode.RELEASEDIR:
                return answers.release(fs.RELEASE_IN.unpack(body).fh)
            case Opcode.FLUSH | Opcode.FSYNC | Opcode.FSYNCDIR | Opcode.DESTROY:
                return b""
            case Opcode.STATFS:
                return fs.STATFS_OUT.pack(0, 0, 0, 0, 0, 4096, 255, 4096)
            case _:
                raise OSError(answers.refusal(head.opcode), "not in this tree")


def _errno(error: Exception) -> int:
    if isinstance(error, MosixError):
        return errno_of(error)
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    if isinstance(error, ValueError):
        return errno.EINVAL
    log.error("hpc.request_failed", exc_info=error)
    return errno.EIO
