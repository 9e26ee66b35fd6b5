"""This machine as `setpe` sees it: its addresses, and which line of a map is about it.

Owns finding the own node in a map (openmosix.md 1.1, 1.3). Asks the kernel and the host table; changes nothing.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from ipaddress import IPv4Address

from omprotocol.errors import EXIT_FAILED, MosixError
from omprotocol.static_map import StaticMap, own_node

_SIOCGIFCONF = 0x8912
_IFREQ = struct.Struct("16s16s8x")
_MAX_ADDRESSES = 1024


def resolve(host: str) -> str | None:
    """The IPv4 address of a host name, None for an unknown one."""
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError):
        return None


def own_addresses() -> list[tuple[str, IPv4Address]]:
    """All IPv4 addresses of this machine with the names of their interfaces."""
    room = _IFREQ.size * _MAX_ADDRESSES
    buffer = bytearray(room)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # The kernel writes through the pointer, so it needs this very buffer.
        pointer = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        answer = fcntl.ioctl(any_socket, _SIOCGIFCONF, struct.pack("iP", room, pointer))
    length = struct.unpack("iP", answer)[0]
    found = []
    for name, data in _IFREQ.iter_unpack(bytes(buffer[: length - length % _IFREQ.size])):
        found.append((name.partition(b"\0")[0].decode(), IPv4Address(data[4:8])))
    return found


def find_own(table: StaticMap, node: int | None) -> tuple[int, IPv4Address, str]:
    """Number, address and interface of this machine in a map; `node` says which it is where given.

    Raises MosixError `bad-map` or `not-mine`.
    """
    mine = [(name.partition(":")[0], address) for name, address in own_addresses()]
    if node is not None:
        listed = table.address_of(node)
        if listed is None:
            raise MosixError("not-mine", f"Node #{node} is not in the map.", EXIT_FAILED)
        for name, address in mine:
            if address == listed or table.node_at(address) == node:
                return node, address, name
        raise MosixError("not-mine", f"Node #{node} is at {listed}, which is no address of this machine.", EXIT_FAILED)
    for name, address in mine:
        found = table.node_at(address)
        if found is not None and not address.is_loopback:
            return found, address, name
    host = resolve(socket.gethostname()) or next((str(address) for _, address in mine), "0.0.0.0")
    own_node(table, IPv4Address(host))
    raise MosixError("not-mine", f"{host} is in the map but is no address of this machine.", EXIT_FAILED)
