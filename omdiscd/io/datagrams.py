"""The UDP sockets of the daemon: two for the group, one for each interface's own address.

Owns opening, joining, sending and receiving, and follows interfaces as they come and go. Datagrams are
handed over as they are. A flood is read in bounded batches with pauses between them, so that it cannot take
a whole core; what does not fit the kernel's buffer meanwhile is lost, as on any busy network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from omdiscd.io.interfaces import Interface
from omdiscd.wire.header import DATAGRAM_LIMIT_BYTES
from omprotocol.errors import MosixError

log = logging.getLogger(__name__)

BATCH = 128
"""Datagrams read in one go from one socket."""
PAUSE_S = 0.01
"""Pause after a full batch: at most 12,800 datagrams a second are read from one socket."""
RECEIVE_BUFFER_BYTES = 1 << 20

_IP_MULTICAST_ALL = 49  # linux/in.h; the socket module has no name for it
OnDatagram = Callable[[bytes, tuple[str, int], float], None]


class DatagramSockets:
    """Sends and receives for one daemon. `ports` are those of the channels "discovery" and "gossip"."""

    def __init__(
        self, group: str, ports: dict[str, int], multicast_ttl: int, on_datagram: OnDatagram, uses_multicast: bool
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._group = group
        self._ports = ports
        self._ttl = multicast_ttl
        self._on_datagram = on_datagram
        self._loop = asyncio.get_running_loop()
        self._own: dict[Interface, socket.socket] = {}
        self._failed: set[Interface] = set()
        self._group_sockets: list[socket.socket] = []
        if uses_multicast:
            self._group_sockets = [self._open_group(port) for port in ports.values()]

    @property
    def interfaces(self) -> list[Interface]:
        """The interfaces in use, the primary first."""
        return list(self._own)

    def follow(self, wanted: Sequence[Interface]) -> bool:
        """Use the interfaces in `wanted`, as far as they can be opened; True when others are used than
        before.
        """
        before = list(self._own)
        for interface in before:
            if interface not in wanted:
                self._close(self._own.pop(interface))
                self._join(interface, is_member=False)
        for interface in wanted:
            if interface not in self._own:
                self._open(interface)
        self._failed.intersection_update(wanted)
        self._own = {interface: self._own[interface] for interface in wanted if interface in self._own}
        return list(self._own) != before

    def multicast(self, channel: str, datagram: bytes) -> None:
        """Send to the group on every interface; failures are counted."""
        for own in self._own.values():
            self._send(own, datagram, (self._group, self._ports[channel]))

    def send(self, address: int, port: int, datagram: bytes) -> None:
        """Send to one node, from the interface whose network it is in, else from the first."""
        near = (own for interface, own in self._own.items() if interface.reaches(address))
        own = next(near, None) or next(iter(self._own.values()), None)
        if own is not None:
            self._send(own, datagram, (str(IPv4Address(address)), port))

    def close(self) -> None:
        """Close everything."""
        for own in (*self._own.values(), *self._group_sockets):
            self._close(own)
        self._own, self._group_sockets = {}, []

    def _send(self, own: socket.socket, datagram: bytes, to: tuple[str, int]) -> None:
        try:
            own.sendto(datagram, to)
        except OSError:
            self.counts["send_failed"] += 1
        else:
            self.counts["sent"] += 1
            self.counts["sent_bytes"] += len(datagram)

    def _open(self, interface: Interface) -> None:
        try:
            self._own[interface] = self._open_own(interface)
        except OSError as error:
            if interface not in self._failed:
                self._failed.add(interface)
                facts = {"interface": interface.name, "error": error.strerror}
                log.warning("network.open_failed", extra=facts)
            return
        self._failed.discard(interface)
        self._join(interface, is_member=False)  # a membership of an interface that went away may linger
        self._join(interface, is_member=True)

    def _open_group(self, port: int) -> socket.socket:
        receiver = _udp_socket()
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other programs may join the group, too
        receiver.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        try:
            receiver.bind((self._group, port))
        except OSError as error:
            receiver.close()
            message = f"Unable to initialize network: UDP port {port} of {self._group}: {error.strerror}."
            raise MosixError("port-in-use", message) from None
        self._loop.add_reader(receiver.fileno(), self._read, receiver)
        return receiver

    def _open_own(self, interface: Interface) -> socket.socket:
        own = _udp_socket()
        try:
            by_index = struct.pack("@4s4si", b"\0" * 4, b"\0" * 4, interface.index)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, by_index)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self._ttl)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(interface.is_loopback))
            own.bind((str(IPv4Address(interface.address)), self._ports["gossip"]))
        except BaseException:
            own.close()
            raise
        self._loop.add_reader(own.fileno(), self._read, own)
        return own

    def _join(self, interface: Interface, is_member: bool) -> None:
        what = socket.IP_ADD_MEMBERSHIP if is_member else socket.IP_DROP_MEMBERSHIP
        request = struct.pack("@4s4si", socket.inet_aton(self._group), b"\0" * 4, interface.index)
        for receiver in self._group_sockets:
            with contextlib.suppress(OSError):
                receiver.setsockopt(socket.IPPROTO_IP, what, request)

    def _close(self, own: socket.socket) -> None:
        self._loop.remove_reader(own.fileno())
        own.close()

    def _read(self, own: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                datagram, source = own.recvfrom(DATAGRAM_LIMIT_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:
                self.counts["receive_failed"] += 1
                continue
            self.counts["received"] += 1
            self._on_datagram(datagram, source, time.monotonic())
        self.counts["pauses"] += 1
        self._loop.remove_reader(own.fileno())
        self._loop.call_later(PAUSE_S, self._resume, own)

    def _resume(self, own: socket.socket) -> None:
        if own.fileno() >= 0:
            self._loop.add_reader(own.fileno(), self._read, own)


def _udp_socket() -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return own
