"""Which unix sockets are connected with one another, asked of the kernel by sock_diag(7).

Sees the network namespace of the caller only.  Never sends anything to a socket.
Source of the layouts: include/uapi/linux/unix_diag.h and sock_diag.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SHOW_PEER = 4
_ATTRIBUTE_PEER = 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
_SOCKET = struct.Struct("=BBBBIII")
_BUFFER_BYTES = 1 << 16
_TIMEOUT_S = 5.0


def unix_peers() -> dict[int, int]:
    """Inode of each connected unix socket -> inode of its peer.  Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
        asking.settimeout(_TIMEOUT_S)
        body = _REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_PEER, 0, 0)
        head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
        asking.sendto(head + body, (0, 0))
        peers: dict[int, int] = {}
        while True:
            for kind, payload in messages(asking.recv(_BUFFER_BYTES)):
                if kind == _NLMSG_DONE:
                    return peers
                if kind == _NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", payload)[0], "the kernel does not list unix sockets")
                inode, peer = parse_socket(payload)
                if peer:
                    peers[inode] = peer


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each netlink message in `data`."""
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def parse_socket(payload: bytes) -> tuple[int, int]:
    """Inode and peer's inode (0: none) of one unix_diag_msg."""
    inode = int(_SOCKET.unpack_from(payload)[4])
    rest = payload[_SOCKET.size :]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        if length < 4:
            break
        if kind == _ATTRIBUTE_PEER and length >= 8:
            return inode, int(struct.unpack_from("=I", rest, 4)[0])
        rest = rest[(length + 3) & ~3 :]
    return inode, 0
