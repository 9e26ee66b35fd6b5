"""The server of the control socket: JSON lines from local users, answered one after another.

Owns connections, their caps and their deadlines. A client that sends nonsense, nothing, half a line or too
much, or never reads, costs one bounded connection and is then hung up on; it never delays anybody else.
Never judges access: the registry does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from omdiscd.control.credentials import caller_of
from omdiscd.control.registry import Caller, Registry
from omprotocol.errors import EXIT_USAGE, MosixError

log = logging.getLogger(__name__)

LINE_LIMIT_BYTES = 64 << 10
"""Longest request line."""
CONNECTIONS_PER_UID = 128
"""Open connections of one user, root included."""
CONNECTIONS_IN_ALL = 512
"""Open connections of all users other than root, who always finds a place."""
IDLE_S = 60.0
"""How long a client may take from one answer to the end of its next request line."""
WRITE_S = 10.0
"""How long a client may leave an answer unread."""

PROTOCOL_VERSION = 1


class Request(msgspec.Struct):
    """One request line."""

    v: int
    verb: str
    args: dict[str, Any] = {}


_decode = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.Encoder().encode


class ControlServer:
    """Serves `registry` on the Unix socket `path` (mode 0666: the credentials decide)."""

    def __init__(
        self,
        path: Path,
        registry: Registry,
        admin_gid: int | None = None,
        idle_s: float = IDLE_S,
        write_s: float = WRITE_S,
    ) -> None:
        self.admin_gid = admin_gid
        self.refused_connections = 0
        self._path = path
        self._registry = registry
        self._idle_s = idle_s
        self._write_s = write_s
        self._open: Counter[int] = Counter()

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled. The caller must own the directory, for an older socket there is removed."""
        listener = _listen(self._path)
        try:
            async with asyncio.TaskGroup() as connections:
                server = await asyncio.start_unix_server(
                    lambda reader, writer: self._accept(connections, reader, writer),
                    sock=listener,
                    limit=LINE_LIMIT_BYTES,
                )
                if ready is not None:
                    ready.set()
                try:
                    await server.serve_forever()
                finally:
                    server.close()
        finally:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _accept(
        self, connections: asyncio.TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            caller = caller_of(writer.get_extra_info("socket"), self.admin_gid)
        except OSError:
            writer.transport.abort()
            return
        strangers = self._open.total() - self._open[0]
        full = caller.uid != 0 and strangers >= CONNECTIONS_IN_ALL
        if full or self._open[caller.uid] >= CONNECTIONS_PER_UID:
            self.refused_connections += 1
            busy = MosixError("busy", "Too many connections to the openMosix daemon are open: try again.")
            writer.write(_encode({"ok": False, "error": busy.to_wire()}) + b"\n")
            writer.close()
            return
        self._open[caller.uid] += 1
        connections.create_task(self._serve(caller, reader, writer), name=f"control uid {caller.uid}")

    async def _serve(self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def report(body: dict[str, Any]) -> None:
            if not caller.is_gone:
                await self._send(caller, writer, {"progress": body})

        caller.report = report
        writer.transport.set_write_buffer_limits(high=0)  # so that drain() means: all of it is read or in the socket
        try:
            while not caller.is_gone:
                line = await self._next_line(caller, reader, writer)
                if line is None:
                    break
                if not await self._answer(caller, writer, line):
                    break
        finally:
            self._open[caller.uid] -= 1
            if not self._open[caller.uid]:
                del self._open[caller.uid]
            writer.transport.abort() if caller.is_gone else writer.close()

    async def _next_line(
        self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        try:
            async with asyncio.timeout(self._idle_s):
                line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            await self._refuse(caller, writer, f"A request is longer than {LINE_LIMIT_BYTES} bytes.")
            return None
        except TimeoutError:
            await self._refuse(caller, writer, f"No request came within {self._idle_s:g} s.")
            return None
        except (asyncio.IncompleteReadError, OSError):
            return None
        return line

    async def _answer(self, caller: Caller, writer: asyncio.StreamWriter, line: bytes) -> bool:
        try:
            request = _decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            await self._refuse(caller, writer, "A request is not one line of JSON with v, verb and args.")
            return False
        if request.v != PROTOCOL_VERSION:
            await self._refuse(caller, writer, f"The daemon speaks protocol version {PROTOCOL_VERSION}.")
            return False
        try:
            answer: dict[str, Any] = {
                "ok": True,
                "result": await self._registry.handle(caller, request.verb, request.args),
            }
        except MosixError as error:
            answer = {"ok": False, "error": error.to_wire()}
        except Exception:
            log.exception("control.handler_failed", extra={"verb": request.verb[:40]})
            failure = MosixError("internal", "The openMosix daemon failed on this request: see its log.")
            answer = {"ok": False, "error": failure.to_wire()}
        await self._send(caller, writer, answer)
        return not caller.is_gone

    async def _refuse(self, caller: Caller, writer: asyncio.StreamWriter, message: str) -> None:
        error = MosixError("bad-request", message, EXIT_USAGE)
        await self._send(caller, writer, {"ok": False, "error": error.to_wire()})

    async def _send(self, caller: Caller, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._write_s):
                writer.write(_encode(body) + b"\n")
                await writer.drain()
        except (TimeoutError, OSError):
            caller.is_gone = True


def _listen(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        old_mask = os.umask(0o111)
        try:
            listener.bind(str(path))
        finally:
            os.umask(old_mask)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener
