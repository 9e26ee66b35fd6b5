"""Membership at work: the pure core between sockets, clock and netlink.

Owns the way of a datagram: read, opened, parsed, judged, and the effects carried out. Nothing a datagram
holds can raise past this file: what does not fit is counted and dropped. Never decides anything about
members.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address

from omdiscd.core.discovery import Discovery
from omdiscd.core.effects import Effect, MemberChanged, Multicast, Report, Send
from omdiscd.core.member import Member, MemberState
from omdiscd.core.strangers import Source
from omdiscd.io.datagrams import DatagramSockets
from omdiscd.io.interfaces import Interface
from omdiscd.io.link_watch import LinkWatch
from omdiscd.wire.messages import Message, decode_message, encode_message
from omdiscd.wire.seal import Drop, Opener, Sealer
from omprotocol.errors import MosixError

log = logging.getLogger(__name__)

TICKS_PER_PERIOD = 4
REPORT_S = 60.0
"""Shortest time between two log lines of one kind that strangers can cause."""

OnChange = Callable[[Member, MemberState | None], None]


class AddressChanged(Exception):
    """The primary address of this node changed, and with it its number: the daemon must start over."""


class Membership:
    """Runs `discovery` over `sockets`. `find_interfaces` returns those present now, the primary first."""

    def __init__(
        self,
        discovery: Discovery,
        sealer: Sealer,
        opener: Opener,
        find_interfaces: Callable[[], list[Interface]],
        period_s: float,
        on_change: OnChange,
    ) -> None:
        self.discovery = discovery
        self.drops: Counter[str] = Counter()
        self.sockets: DatagramSockets | None = None
        self._sealer = sealer
        self._opener = opener
        self._find_interfaces = find_interfaces
        self._tick_s = period_s / TICKS_PER_PERIOD
        self._on_change = on_change
        self._primary = discovery.speech.me.addresses[0]
        self._broken_at = float("-inf")
        self._stranger_at = float("-inf")
        self._moved = asyncio.Event()

    async def run(self, sockets: DatagramSockets, ready: asyncio.Event) -> None:
        """Take part until cancelled.

        Raises AddressChanged when this node has got another primary address, MosixError `port-in-use`.
        """
        self.sockets = sockets
        self._follow_interfaces()
        if self._find_interfaces() and not sockets.interfaces:
            message = "Unable to initialize network: the UDP port for gossip is in use on this address."
            raise MosixError("port-in-use", message)
        watch = LinkWatch(self._follow_interfaces)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watch.run(), name="link watch")
                group.create_task(self._restart_when_moved(), name="address watch")
                self._perform(self.discovery.start(time.monotonic()))
                ready.set()
                await self._tick_forever()
        except* AddressChanged as moved:
            raise AddressChanged from moved

    def leave(self) -> None:
        """Say farewell to the cluster; from then on nothing is heard and nothing said."""
        self._perform(self.discovery.leave(time.monotonic()))
        self.sockets = None

    def counters(self) -> dict[str, int]:
        """Return everything counted about datagrams, by name."""
        total: Counter[str] = Counter(self.discovery.counts)
        total.update(self.drops)
        if self.sockets is not None:
            total.update(self.sockets.counts)
        return dict(sorted(total.items()))

    def take(self, datagram: bytes, source: tuple[str, int], now: float) -> None:
        """Take in one datagram, whatever it is. Raises nothing."""
        if self.sockets is None:
            return
        opened = self._opener.open(datagram, now)
        if isinstance(opened, Drop):
            self.drops[opened.value] += 1
            log.debug("membership.dropped", extra={"address": source[0], "why": opened.value})
            if opened is not Drop.FOREIGN:
                self._report_stranger(opened, source[0], now)
            return
        message = decode_message(opened.message)
        if message is None:
            self.drops["unreadable"] += 1
            return
        if log.isEnabledFor(logging.DEBUG):
            facts = {"kind": type(message).__name__, "node": opened.header.node, "address": source[0]}
            log.debug("membership.heard", extra=facts)
        try:
            origin = Source(int.from_bytes(socket.inet_aton(source[0]), "big"), source[1])
            self._perform(self.discovery.receive(opened.header, message, origin, now))
        except Exception:
            self.drops["broken"] += 1
            if now - self._broken_at > REPORT_S:
                self._broken_at = now
                log.exception("membership.broken", extra={"kind": type(message).__name__})

    def _report_stranger(self, drop: Drop, address: str, now: float) -> None:
        if now - self._stranger_at > REPORT_S:
            self._stranger_at = now
            facts = {"address": address, "why": drop.value, "so_far": self.drops[drop.value]}
            log.warning("membership.stranger", extra=facts)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            self._perform(self.discovery.tick(time.monotonic(), self._tick_s))

    async def _restart_when_moved(self) -> None:
        await self._moved.wait()
        raise AddressChanged

    def _follow_interfaces(self) -> bool:
        """Use the interfaces that are there now; False when not all of them could be opened."""
        if self.sockets is None:
            return True
        try:
            found = self._find_interfaces()
        except OSError:  # one went away while it was looked at
            return False
        if found and found[0].address != self._primary:
            if not any(interface.address == self._primary for interface in found):
                self._moved.set()
                return True
            found.sort(key=lambda interface: interface.address != self._primary)
        if self.sockets.follow(found):
            used = self.sockets.interfaces
            names = ",".join(interface.name for interface in used) or "none"
            log.info("network.interfaces", extra={"interfaces": names})
            if used:
                addresses = tuple(interface.address for interface in used)
                self._perform(self.discovery.interfaces_changed(addresses, time.monotonic()))
        return len(self.sockets.interfaces) == len(found)

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if log.isEnabledFor(logging.DEBUG) and isinstance(effect, Multicast | Send):
                log.debug("membership.says", extra={"kind": type(effect.message).__name__})
            match effect:
                case Multicast(channel=channel, message=message):
                    if self.sockets is not None:
                        self.sockets.multicast(channel, self._sealed(message))
                case Send(address=address, port=port, message=message):
                    if self.sockets is not None:
                        self.sockets.send(address, port, self._sealed(message))
                case MemberChanged(member=member, before=before):
                    self._changed(member, before)
                case Report(level=level, event=event, facts=facts):
                    shown = {k: str(IPv4Address(v)) if k == "address" else v for k, v in facts}
                    log.log(logging.WARNING if level == "warning" else logging.INFO, event, extra=shown)

    def _sealed(self, message: Message) -> bytes:
        return self._sealer.seal(encode_message(message))

    def _changed(self, member: Member, before: MemberState | None) -> None:
        facts = {
            "node": member.node,
            "address": str(IPv4Address(member.address)),
            "before": before.value if before else "unknown",
            "state": member.state.value,
        }
        log.info("membership.changed", extra=facts)
        self._on_change(member, before)
