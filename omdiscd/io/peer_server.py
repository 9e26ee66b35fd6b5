"""The server between nodes: TLS on TCP 4660, one request and one answer per connection.

Owns accepting, the caps on connections and handshakes, and every deadline. Only nodes of this cluster get
as far as a verb. Never trusts a node number from a request: the certificate names the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from omprotocol.certificates import peer_node
from omprotocol.errors import MosixError
from omprotocol.frames import FRAME_LIMIT_BYTES, FrameError, read_frame, write_frame
from omprotocol.peer import PROTOCOL_VERSION

log = logging.getLogger(__name__)

CONNECTIONS_IN_ALL = 1024
"""Open connections, handshakes included."""
CONNECTIONS_PER_ADDRESS = 128
"""Open connections of one address, so that one host cannot take every place."""
HANDSHAKE_S = 5.0
REQUEST_S = 10.0
ANSWER_S = 10.0
NO_DESCRIPTOR_PAUSE_S = 0.2


@dataclass(frozen=True)
class PeerCaller:
    """The node that asks, by its certificate, and the address it connected from."""

    node: int
    address: str


PeerHandler = Callable[[PeerCaller, dict[str, Any]], Awaitable[dict[str, Any]]]


class PeerRegistry:
    """The verbs other nodes may say to this one."""

    def __init__(self) -> None:
        self._verbs: dict[str, PeerHandler] = {}

    def add(self, verb: str, handler: PeerHandler) -> None:
        """Register `verb`. Raises ValueError when it is registered already."""
        if verb in self._verbs:
            raise ValueError(f"the peer verb {verb!r} is registered twice")
        self._verbs[verb] = handler

    async def handle(self, peer: PeerCaller, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Run the handler of `verb`. Raises MosixError `unknown-verb` or what the handler raises."""
        handler = self._verbs.get(verb)
        if handler is None:
            raise MosixError("unknown-verb", f"This node knows no request '{verb[:40]}'.")
        return await handler(peer, args)


class PeerServer:
    """Serves `registry` to the nodes of this cluster on `address`:`port`."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext, registry: PeerRegistry) -> None:
        self.refused_connections = 0
        self.failed_handshakes = 0
        self.port = port
        self._address = address
        self._context = context
        self._registry = registry
        self._open: Counter[str] = Counter()

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled; `port` is the real one once `ready` is set. Raises OSError when it cannot
        bind.
        """
        listener = _listen(self._address, self.port)
        self.port = listener.getsockname()[1]
        try:
            async with asyncio.TaskGroup() as connections:
                if ready is not None:
                    ready.set()
                await self._accept_forever(listener, connections)
        finally:
            listener.close()

    async def _accept_forever(self, listener: socket.socket, connections: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, (address, *_) = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("peer.accept_failed", extra={"error": error.strerror})
                await asyncio.sleep(NO_DESCRIPTOR_PAUSE_S)
                continue
            full = self._open.total() >= CONNECTIONS_IN_ALL
            if full or self._open[address] >= CONNECTIONS_PER_ADDRESS:
                self.refused_connections += 1
                connection.close()
                continue
            self._open[address] += 1
            connections.create_task(self._serve(connection, address), name=f"peer {address}")

    async def _serve(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        transport: asyncio.BaseTransport | None = None
        try:
            reader = asyncio.StreamReader(limit=FRAME_LIMIT_BYTES)
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S
            )
            peer = PeerCaller(peer_node(transport.get_extra_info("ssl_object")), address)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await self._answer(peer, reader, writer)
        except (OSError, ValueError, FrameError, TimeoutError):
            self.failed_handshakes += transport is None
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
            if transport is None:
                connection.close()
            else:
                transport.close()

    async def _answer(self, peer: PeerCaller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_S):
            request = await read_frame(reader)
        if request is None:
            return
        verb, args = request.get("verb"), request.get("args")
        try:
            if request.get("v") != PROTOCOL_VERSION or not isinstance(verb, str) or not isinstance(args, dict):
                raise MosixError("bad-request", f"This node speaks protocol version {PROTOCOL_VERSION}.")
            answer: dict[str, Any] = {"ok": True, "result": await self._registry.handle(peer, verb, args)}
        except MosixError as error:
            answer = {"ok": False, "error": error.to_wire()}
        except Exception:
            log.exception("peer.handler_failed", extra={"verb": str(verb)[:40], "node": peer.node})
            failure = MosixError("internal", "The other node failed on this request: see its log.")
            answer = {"ok": False, "error": failure.to_wire()}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await write_frame(writer, answer)


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        message = f"Unable to initialize network: TCP port {port} of {address}: {error.strerror}."
        raise MosixError("port-in-use", message) from None
    except BaseException:
        listener.close()
        raise
    return listener
