"""Calling a verb of another node: one request, one answer, over TLS.

Owns the client half of the peer protocol. Every call has one deadline for all of it, from connecting to the
last byte of the answer. Never retries: only the caller knows whether a verb may be said twice.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Any

from omprotocol.certificates import Identity, client_context, node_name
from omprotocol.errors import (
    EXIT_NOT_FOUND,
    EXIT_REFUSED,
    EXIT_TIMEOUT,
    MosixError,
    PeerRefused,
    PeerUnreachable,
)
from omprotocol.frames import FRAME_LIMIT_BYTES, encode_frame, read_frame

PROTOCOL_VERSION = 1


async def call(
    address: str,
    port: int,
    identity: Identity,
    node: int,
    verb: str,
    args: Mapping[str, Any] | None = None,
    timeout_s: float = 10.0,
    context: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """Ask `verb` of `node` at `address`:`port` and return its result.

    `context` saves making a client context for each call. Raises PeerUnreachable when no answer comes within
    `timeout_s`, PeerRefused when the other end is not that node of this cluster, MosixError as the peer
    answered.
    """
    where = f"node {node} ({address}:{port})"
    body = encode_frame({"v": PROTOCOL_VERSION, "verb": verb, "args": dict(args or {})})
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _exchange(address, port, context or client_context(identity), node, body)
    except TimeoutError:
        raise PeerUnreachable(
            "peer-timeout", f"{where} did not answer '{verb}' within {timeout_s:g} s.", EXIT_TIMEOUT
        ) from None
    except ssl.SSLCertVerificationError as error:
        why = "is another node" if "ostname" in error.verify_message else "has another cluster key"
        raise PeerRefused("peer-stranger", f"Who answers as {where} {why}.", EXIT_REFUSED) from None
    except ssl.SSLError as error:
        raise PeerRefused("peer-refused", f"{where} refused the connection: {error.reason}.", EXIT_REFUSED) from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "the connection was lost"
        raise PeerUnreachable("peer-unreachable", f"{where} cannot be reached: {why}.", EXIT_NOT_FOUND) from None
    if answer is None:
        raise PeerUnreachable("peer-lost", f"{where} ended the connection without an answer.", EXIT_NOT_FOUND)
    result = answer.get("result")
    if answer.get("ok") is True and isinstance(result, dict):
        return result
    raise MosixError.from_wire(answer.get("error"))


async def _exchange(address: str, port: int, context: ssl.SSLContext, node: int, body: bytes) -> dict[str, Any] | None:
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=node_name(node), limit=FRAME_LIMIT_BYTES
    )
    try:
        writer.write(body)
        await writer.drain()
        return await read_frame(reader)
    finally:
        writer.transport.abort()
