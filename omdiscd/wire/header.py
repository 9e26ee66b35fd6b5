"""The clear, authenticated header of every datagram between daemons.

    offset  0  4  magic, 0x64c4f11e
            4  1  version of the form, 1
            5  1  zero
            6  2  key id: tells clusters apart before any cryptography
            8  2  node number of the sender
           10 16  boot id of the sender, random at every start of its daemon
           26  8  counter, never repeated under one boot id
           34  …  sealed message, ending in a tag of 16 bytes

Owns packing and the checks that cost nothing. Never trusts a field: the seal does that.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = 0x64C4F11E
VERSION = 1
BOOT_ID_BYTES = 16
TAG_BYTES = 16
DATAGRAM_LIMIT_BYTES = 1400
"""Longest datagram sent or accepted: fits one Ethernet frame with room for tunnels."""

_FORM = struct.Struct(">IBBHH16sQ")
HEADER_BYTES = _FORM.size
MESSAGE_LIMIT_BYTES = DATAGRAM_LIMIT_BYTES - HEADER_BYTES - TAG_BYTES
_SHORTEST = HEADER_BYTES + TAG_BYTES + 1


class Header(NamedTuple):
    """Who says it, and which of their datagrams it is."""

    key_id: int
    node: int
    boot_id: bytes
    counter: int


def pack_header(header: Header) -> bytes:
    """Return the 34 bytes of `header`."""
    return _FORM.pack(MAGIC, VERSION, 0, header.key_id, header.node, header.boot_id, header.counter)


def unpack_header(datagram: bytes) -> Header | None:
    """Return the header, None when the datagram is not one of ours by length, magic, version or node
    number.
    """
    if not _SHORTEST <= len(datagram) <= DATAGRAM_LIMIT_BYTES:
        return None
    magic, version, zero, key_id, node, boot_id, counter = _FORM.unpack_from(datagram)
    if magic != MAGIC or version != VERSION or zero or not node:
        return None
    return Header(key_id, node, boot_id, counter)
