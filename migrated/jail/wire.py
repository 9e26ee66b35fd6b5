"""Messages between the supervisor of a jail and its shepherd: one JSON object per SEQPACKET datagram, with
descriptors beside it.
"""

from __future__ import annotations

import array
import json
import socket
from typing import Any

MESSAGE_LIMIT_BYTES = 128 * 1024
DESCRIPTOR_LIMIT = 250  # below the kernel's SCM_MAX_FD


def send(sock: socket.socket, message: dict[str, Any], fds: tuple[int, ...] | list[int] = ()) -> None:
    """Send one message. OSError when the other side is gone; blocks while its queue is full."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([json.dumps(message).encode()], ancillary)


def receive(sock: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One message and its descriptors (close-on-exec), or (None, []) when the other side is gone."""
    descriptors = array.array("i")
    space = socket.CMSG_LEN(DESCRIPTOR_LIMIT * descriptors.itemsize)
    try:
        raw, ancillary, _, _ = sock.recvmsg(MESSAGE_LIMIT_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None, []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not raw:
        return None, list(descriptors)
    message = json.loads(raw)
    return (message if isinstance(message, dict) else {}), list(descriptors)
