"""Frames between nodes: 4 bytes of length, big-endian, then one msgpack map.

Owns framing only. Never opens a connection and never judges what a frame means.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from omprotocol.errors import MosixError

FRAME_LIMIT_BYTES = 1 << 20
"""Longest frame taken from a peer unless the caller says otherwise; requests and answers are far below."""

_LENGTH_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class FrameError(MosixError):
    """The bytes are not a frame: too long, cut off, or not a msgpack map."""

    def __init__(self, message: str) -> None:
        super().__init__("bad-frame", message)

    def __reduce__(self) -> tuple[type[FrameError], tuple[str]]:
        return FrameError, (self.message,)


def encode_frame(body: dict[str, Any], limit_bytes: int = FRAME_LIMIT_BYTES) -> bytes:
    """Return `body` as one frame. Raises FrameError when it is longer than `limit_bytes`."""
    packed = _encode(body)
    if len(packed) > limit_bytes:
        raise FrameError(f"A message of {len(packed)} bytes is longer than the limit of {limit_bytes}.")
    return len(packed).to_bytes(_LENGTH_BYTES, "big") + packed


async def read_frame(reader: asyncio.StreamReader, limit_bytes: int = FRAME_LIMIT_BYTES) -> dict[str, Any] | None:
    """Read one frame; None at the end of the stream. No deadline of its own. Raises FrameError, OSError."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    except asyncio.IncompleteReadError as cut:
        if not cut.partial:
            return None
        raise FrameError("The connection ended inside the length of a message.") from None
    if length > limit_bytes:
        raise FrameError(f"A message of {length} bytes was announced; the limit is {limit_bytes}.")
    try:
        return _decode(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        raise FrameError("The connection ended inside a message.") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise FrameError("A message is not a msgpack map.") from None


async def write_frame(writer: asyncio.StreamWriter, body: dict[str, Any], limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
    """Write one frame and wait until the transport has room again. Raises FrameError, OSError."""
    writer.write(encode_frame(body, limit_bytes))
    await writer.drain()
