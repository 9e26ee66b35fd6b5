"""A LAN of membership cores with a virtual clock: deterministic, no sockets, no sleeping.

Carries datagrams between `Discovery` objects with a fixed delay; loss, partitions and stopped nodes are
switches.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random

from omdiscd.core.discovery import Discovery
from omdiscd.core.effects import Effect, MemberChanged, Multicast, Report, Send
from omdiscd.core.member import MemberState, Timings
from omdiscd.core.strangers import Source
from omdiscd.wire.header import Header
from omdiscd.wire.messages import Announce, Message, decode_message, encode_message

TICK_S = 0.25
DELAY_S = 0.001
PORT = 5428


def low_16(address: int) -> int:
    """openMosix's rule: the node number is the last two octets of the address."""
    return address & 0xFFFF


def ip(text: str) -> int:
    """Return an IPv4 address as an integer."""
    return int(IPv4Address(text))


@dataclass(eq=False)
class Host:
    """One start of one daemon."""

    address: int
    boot_id: bytes
    core: Discovery
    counter: int = 0
    is_stopped: bool = False
    last_tick: float = 0.0
    reports: list[Report] = field(default_factory=list)
    changes: list[MemberChanged] = field(default_factory=list)

    def state_of(self, node: int) -> MemberState | None:
        """How this host sees a node."""
        member = self.core.roster.get(node)
        return member.state if member else None

    def present(self) -> set[int]:
        """The nodes this host counts as up."""
        return {member.node for member in self.core.roster.present()}


class VirtualLan:
    """All hosts and the datagrams under way."""

    def __init__(self, seed: int = 0, uses_multicast: bool = True) -> None:
        self.rng = Random(seed)
        self.now = 1000.0
        self.hosts: list[Host] = []
        self.loss = 0.0
        self.cut: set[frozenset[int]] = set()
        self.uses_multicast = uses_multicast
        self.log: list[tuple[Header, bytes, Source, int]] = []
        self._events: list[tuple[float, int, Host, tuple[Header, bytes, Source] | None]] = []
        self._order = 0

    def start(self, address: str, seeds: tuple[str, ...] = (), timings: Timings | None = None, number: int = 0) -> Host:
        """Start a daemon at an address; `number` overrides the rule of the last two octets."""
        me = Announce((ip(address),), PORT, 4660, "host", "0.1", 0, 0)
        boot_id = self.rng.randbytes(16)
        core = Discovery(
            number or low_16(ip(address)),
            boot_id,
            me,
            low_16,
            Random(self.rng.random()),
            self.now,
            timings=timings,
            seeds=tuple((ip(seed), PORT) for seed in seeds),
            uses_multicast=self.uses_multicast,
        )
        host = Host(ip(address), boot_id, core, last_tick=self.now)
        self.hosts.append(host)
        self._carry_out(host, core.start(self.now))
        self._push(self.now + self.rng.random() * TICK_S, host, None)
        return host

    def kill(self, host: Host) -> None:
        """Let a daemon vanish without a word."""
        self.hosts.remove(host)

    def leave(self, host: Host) -> None:
        """Let a daemon leave as it should."""
        self._carry_out(host, host.core.leave(self.now))
        self.hosts.remove(host)

    def separate(self, one: Host, other: Host) -> None:
        """Cut the link between two hosts."""
        self.cut.add(frozenset((one.address, other.address)))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _order, host, datagram = heapq.heappop(self._events)
            if host not in self.hosts:
                continue
            if host.is_stopped:
                self._push(self.now + TICK_S, host, datagram)
            elif datagram is None:
                self._carry_out(host, host.core.tick(self.now, TICK_S))
                self._push(self.now + TICK_S, host, None)
            else:
                self.deliver(host, *datagram)
        self.now = until

    def deliver(self, host: Host, header: Header, data: bytes, source: Source) -> None:
        """Hand one datagram to a host, as the daemon would after opening it."""
        message = decode_message(data)
        assert message is not None
        self._carry_out(host, host.core.receive(header, message, source, self.now))

    def _carry_out(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    self._send(host, message, [h for h in self.hosts if h is not host])
                case Send(address=address, message=message):
                    self._send(host, message, [h for h in self.hosts if h.address == address])
                case Report():
                    host.reports.append(effect)
                case MemberChanged():
                    host.changes.append(effect)

    def _send(self, sender: Host, message: Message, targets: list[Host]) -> None:
        sender.counter += 1
        header = Header(0, sender.core.node, sender.boot_id, sender.counter)
        data = encode_message(message)
        source = Source(sender.address, PORT)
        for target in targets:
            self.log.append((header, data, source, target.address))
            lost = self.rng.random() < self.loss
            if not lost and frozenset((sender.address, target.address)) not in self.cut:
                self._push(self.now + DELAY_S, target, (header, data, source))

    def _push(self, at: float, host: Host, datagram: tuple[Header, bytes, Source] | None) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, host, datagram))
