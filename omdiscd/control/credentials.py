"""Who is at the other end of a Unix socket, by the word of the kernel.

Owns reading SO_PEERCRED and SO_PEERGROUPS and the rule that makes somebody an administrator. Looks names up
in the system's group database, which may block: only `admin_group_id` does that, at start and on reload.
"""

from __future__ import annotations

import array
import grp
import socket
import struct

from omdiscd.control.registry import Caller

ADMIN_GROUP = "openmosix"
_SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module has no name for it
_GROUPS_MAX = 65536  # NGROUPS_MAX of Linux
_UCRED = struct.Struct("3i")


def admin_group_id() -> int | None:
    """Return the gid of the group `openmosix`, None when there is no such group. May block on the name
    service.
    """
    try:
        return grp.getgrnam(ADMIN_GROUP).gr_gid
    except KeyError:
        return None


def caller_of(connection: socket.socket, admin_gid: int | None) -> Caller:
    """Return who connected, as of the moment of connect(). Raises OSError."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    groups = _supplementary_groups(connection) | {gid}
    return Caller(uid=uid, gid=gid, pid=pid, groups=groups, is_admin=uid == 0 or admin_gid in groups)


def _supplementary_groups(connection: socket.socket) -> frozenset[int]:
    size = 64 * 4
    while size <= _GROUPS_MAX * 4:
        try:
            raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, size)
        except OSError as error:
            if error.errno != 34:  # ERANGE: the list is longer than the buffer
                return frozenset()
            size *= 8
            continue
        return frozenset(array.array("I", raw))
    return frozenset()
