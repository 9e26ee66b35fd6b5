"""What daemons say to each other in datagrams, as msgpack arrays with a number in front.

Owns the form and the bounds of every message. Messages to one node carry its number in `to`, so that a
recorded datagram cannot be played to a third node. Decoding never raises: what does not fit is None.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

ADDRESSES_MAX = 6
"""Addresses of one node, as many as openMosix's discovery takes interfaces."""
DIGEST_MAX = 27
"""Members named in one digest: so many fit a datagram at the longest."""

PAYLOAD_LIMIT_BYTES = 1300
"""Room for load in a pulse or in gossip."""

NodeNumber = Annotated[int, Meta(ge=1, le=65535)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Ipv4 = Annotated[int, Meta(ge=1, le=0xFFFFFFFE)]
BootId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Nonce = Annotated[bytes, Meta(min_length=16, max_length=16)]
Milliseconds = Annotated[int, Meta(ge=0, le=1 << 48)]
Incarnation = Annotated[int, Meta(ge=0, le=1 << 48)]
Payload = Annotated[bytes, Meta(max_length=PAYLOAD_LIMIT_BYTES)]
Name = Annotated[str, Meta(max_length=63, pattern=r"^[a-z0-9-]*$")]
Version = Annotated[str, Meta(max_length=24, pattern=r"^[A-Za-z0-9.+-]*$")]


class Announce(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """I am here. `active_ms`: how long the sender has held its node number; 0 while it asks for it."""

    addresses: Annotated[tuple[Ipv4, ...], Meta(min_length=1, max_length=ADDRESSES_MAX)]
    gossip_port: Port
    peer_port: Port
    name: Name
    version: Version
    incarnation: Incarnation
    active_ms: Milliseconds
    is_joining: bool = False


class Leave(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """I go, and will not come back under this boot id."""

    incarnation: Incarnation


class Pulse(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """I live; my own load is in `payload`."""

    incarnation: Incarnation
    active_ms: Milliseconds
    payload: Payload


class Challenge(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """I do not know your boot id: show that you live by sending `nonce` back."""

    to: NodeNumber
    nonce: Nonce


class Answer(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """The answer to a challenge, with all that is to be known about the sender."""

    to: NodeNumber
    nonce: Nonce
    announce: Announce


class Ping(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """Are you there? `asker` is the node that wants to know, which may be another than the sender."""

    to: NodeNumber
    asker: NodeNumber
    sequence: Milliseconds


class Ack(msgspec.Struct, array_like=True, tag=7, frozen=True):
    """`node` is there, under `boot_id`: the answer to a ping, from itself or passed on for it."""

    to: NodeNumber
    asker: NodeNumber
    node: NodeNumber
    boot_id: BootId
    sequence: Milliseconds


class PingRequest(msgspec.Struct, array_like=True, tag=8, frozen=True):
    """Please ping `target` for me; perhaps you reach it."""

    to: NodeNumber
    target: NodeNumber
    sequence: Milliseconds


class Suspect(msgspec.Struct, array_like=True, tag=9, frozen=True):
    """I no longer hear `node`. It may refute by speaking under a higher incarnation."""

    node: NodeNumber
    boot_id: BootId
    incarnation: Incarnation


class DigestEntry(msgspec.Struct, array_like=True, frozen=True):
    """What the sender knows of one member; `age_ms` since it was last heard by anybody."""

    node: NodeNumber
    boot_id: BootId
    address: Ipv4
    gossip_port: Port
    incarnation: Incarnation
    age_ms: Milliseconds


class Gossip(msgspec.Struct, array_like=True, tag=10, frozen=True):
    """Push-pull of load: the vector I know; send yours back when `wants_answer`."""

    to: NodeNumber
    wants_answer: bool
    incarnation: Incarnation
    active_ms: Milliseconds
    payload: Payload


class Conflict(msgspec.Struct, array_like=True, tag=11, frozen=True):
    """You use my node number. `boot_id` says which of its users is meant."""

    to: NodeNumber
    boot_id: BootId
    announce: Announce


class Digest(msgspec.Struct, array_like=True, tag=12, frozen=True):
    """Push-pull of membership: the members I know; send yours back when `wants_answer`."""

    to: NodeNumber
    wants_answer: bool
    entries: Annotated[tuple[DigestEntry, ...], Meta(max_length=DIGEST_MAX)]


Message: TypeAlias = (
    Announce | Leave | Pulse | Challenge | Answer | Ping | Ack | PingRequest | Suspect | Gossip | Conflict | Digest
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def encode_message(message: Message) -> bytes:
    """Return the bytes of `message`."""
    return _encode(message)


def decode_message(data: bytes) -> Message | None:
    """Return the message, None when the bytes are none or break a bound."""
    try:
        message: Message = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None
    return message
