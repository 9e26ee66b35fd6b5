"""Blocking TLS streams between shims: for the page stream and the file server, each in a process of its own.

Both ends are authenticated by the cluster's certificates; the first message is a hello with the offer's token.
Everything here blocks, with a deadline, and must never run in an event loop.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl

from migrated.shim.messages import BadMessage, Hello, frame_length, pack, unpack
from omprotocol.certificates import Identity, client_context, node_name, peer_node, server_context
from omprotocol.errors import PeerRefused, PeerUnreachable

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_IDLE_S = 20
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 5
_CHUNK_BYTES = 256 << 10
STALL_S = 20.0
"""How long a page stream may stand still: its process is frozen meanwhile."""


def dial(address: str, port: int, identity: Identity, node: int, hello: Hello) -> ssl.SSLSocket:
    """Connect to the shim of `node`.  The socket returned blocks.  Raises PeerUnreachable, PeerRefused."""
    try:
        plain = socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S)
    except OSError as error:
        why = error.strerror or "no answer in time"
        raise PeerUnreachable("peer-unreachable", f"Node {node} ({address}) cannot be reached: {why}.", 4) from None
    try:
        tune(plain)
        secure = client_context(identity).wrap_socket(plain, server_hostname=node_name(node))
        secure.sendall(pack(hello))
        secure.settimeout(None)
    except (ssl.SSLError, OSError) as error:
        plain.close()
        raise PeerRefused("peer-refused", f"Node {node} ({address}) refused the connection: {error}.", 3) from None
    return secure


def answer(listener: socket.socket, identity: Identity, home: int, expected: Hello, timeout_s: float) -> ssl.SSLSocket:
    """Wait for the one expected caller; strangers are dropped.  Raises PeerUnreachable after `timeout_s`."""
    context = server_context(identity)
    listener.settimeout(timeout_s)
    while True:
        try:
            plain, _ = listener.accept()
        except (OSError, TimeoutError):
            raise PeerUnreachable("peer-unreachable", f"Node {home} did not connect in time.", 5) from None
        plain.settimeout(CONNECT_TIMEOUT_S)
        secure: ssl.SSLSocket | None = None
        try:
            tune(plain)
            secure = context.wrap_socket(plain, server_side=True)
            if peer_node(secure) == home and _first_message(secure) == expected:
                secure.settimeout(None)
                return secure
        except (ssl.SSLError, OSError, ValueError, BadMessage):
            pass  # a stranger, or noise: the expected caller may still come
        (secure or plain).close()


def tune(connection: socket.socket) -> None:
    """No delay for small messages, and keepalive so that a dead machine is noticed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def join(local: socket.socket, remote: ssl.SSLSocket) -> int:
    """Carry bytes between a local socket and a TLS stream until either ends; returns bytes carried.

    An end on one side is passed on by closing both: CRIU's page stream is over when either side closes.  So is one that
    has stood still for STALL_S after its first bytes.
    """
    carried = 0
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with contextlib.suppress(OSError, ssl.SSLError):
        for each in (local, remote):
            each.settimeout(STALL_S)
        while True:
            patience_s = STALL_S if carried else None
            ready = [remote] if remote.pending() else select.select([local, remote], [], [], patience_s)[0]
            if not ready:
                return carried
            for source in ready:
                count = source.recv_into(buffer)
                if not count:
                    return carried
                (local if source is remote else remote).sendall(buffer[:count])
                carried += count
    return carried


def _first_message(secure: ssl.SSLSocket) -> object:
    head = _exactly(secure, 4)
    return unpack(_exactly(secure, min(frame_length(head), 4096)))


def _exactly(secure: ssl.SSLSocket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = secure.recv(count - len(got))
        if not part:
            raise BadMessage("the connection ended")
        got += part
    return got
