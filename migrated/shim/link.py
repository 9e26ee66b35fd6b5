"""The connection between a home shim and a guest shim, as an ordered stream of messages.

Wraps an asyncio TLS stream.  `send` waits for room, so a slow peer slows its relay and nothing else is buffered
without bound.  The link never reconnects: TCP outlives a short cut, and a connection that is reset ends the guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from migrated.shim.messages import AnyMessage, BadMessage, Hello, frame_length, pack, unpack
from migrated.shim.streams import tune
from omprotocol.certificates import Identity, client_context, node_name, peer_node
from omprotocol.errors import MosixError, PeerRefused, PeerUnreachable

CONNECT_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0
"""How long the other side may take nothing before the connection counts as lost."""
_HEAD_BYTES = 4


class LinkLost(MosixError):
    """The connection to the other shim is gone."""

    def __init__(self, why: str) -> None:
        super().__init__("link-lost", f"The connection to the other node was lost: {why}.")


class Link:
    """One authenticated connection.  Not safe for two concurrent readers; sending from several tasks is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.bytes_sent = 0
        self.bytes_received = 0

    @property
    def peer(self) -> int:
        """The node number in the other end's certificate."""
        ssl_object = self._writer.get_extra_info("ssl_object")
        return peer_node(ssl_object)

    async def send(self, message: AnyMessage) -> None:
        """Send and wait until the transport has room.  Raises LinkLost."""
        if self._writer.is_closing():
            raise LinkLost("it is closed")
        self.post(message)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._writer.drain()
        except TimeoutError:
            self.close()
            raise LinkLost(f"it took nothing for {SEND_TIMEOUT_S:g} s") from None
        except OSError as error:
            raise LinkLost(str(error)) from None

    def post(self, message: AnyMessage) -> None:
        """Queue without waiting: for small messages sent from a callback.

        Into a closed link it goes unsent: what the other side said last may still be unread, and only `receive`
        tells that the link is lost.
        """
        if self._writer.is_closing():
            return
        frame = pack(message)
        self._writer.write(frame)
        self.bytes_sent += len(frame)

    async def receive(self) -> AnyMessage:
        """The next message.  Raises LinkLost at the end of the stream, BadMessage on nonsense."""
        try:
            head = await self._reader.readexactly(_HEAD_BYTES)
            body = await self._reader.readexactly(frame_length(head))
        except asyncio.IncompleteReadError:
            raise LinkLost("the other side ended it") from None
        except OSError as error:
            raise LinkLost(error.strerror or str(error)) from None
        self.bytes_received += len(body)
        return unpack(body)

    def close(self) -> None:
        """Drop the connection at once."""
        with contextlib.suppress(AttributeError):  # a TLS transport that is torn down has nothing left to abort
            self._writer.transport.abort()

    async def finish(self, timeout_s: float) -> None:
        """Flush what was sent and close, within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.close()


async def connect(
    address: str, port: int, identity: Identity, node: int, hello: Hello, timeout_s: float = CONNECT_TIMEOUT_S
) -> Link:
    """Connect to the shim of `node` and introduce ourselves.  Raises PeerUnreachable, PeerRefused."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=client_context(identity), server_hostname=node_name(node)
            )
            tune(writer.get_extra_info("socket"))
            link = Link(reader, writer)
            await link.send(hello)
            return link
    except ssl.SSLError as error:
        raise PeerRefused(
            "peer-refused", f"Node {node} ({address}) refused the connection: {error.reason}.", 3
        ) from None
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or "no answer in time"
        raise PeerUnreachable("peer-unreachable", f"Node {node} ({address}) cannot be reached: {why}.", 4) from None


async def introduced(link: Link, home: int, expected: Hello, timeout_s: float = CONNECT_TIMEOUT_S) -> bool:
    """True when the first message of an accepted connection is the expected hello of node `home`."""
    try:
        async with asyncio.timeout(timeout_s):
            message = await link.receive()
    except (LinkLost, BadMessage, TimeoutError):
        return False
    return link.peer == home and message == expected
