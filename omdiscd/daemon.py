"""The composition root: everything the daemon is made of is made here, and nowhere else.

Owns the order of starting and leaving, and the one task group all work runs in. Contains no logic of any
part.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from random import SystemRandom
from typing import Any

from omdiscd import __version__, logs
from omdiscd.admin.plugin import Administration
from omdiscd.balancing.plugin import Balancing
from omdiscd.balancing.settings import BalancingForm
from omdiscd.cluster_verbs import ClusterVerbs
from omdiscd.config import Config, section
from omdiscd.control.credentials import admin_group_id
from omdiscd.control.registry import Caller, Registry
from omdiscd.control.server import ControlServer
from omdiscd.core.discovery import Discovery
from omdiscd.core.member import Member, MemberState, Timings
from omdiscd.io.datagrams import DatagramSockets
from omdiscd.io.interfaces import Interface, present_interfaces
from omdiscd.io.peer_server import PeerRegistry, PeerServer
from omdiscd.io.sd_notify import notify, watchdog_period_s
from omdiscd.membership import Membership
from omdiscd.migration import Migration
from omdiscd.node import Node, view_of
from omdiscd.service import Service
from omdiscd.settings import Settings
from omdiscd.wire.header import BOOT_ID_BYTES
from omdiscd.wire.messages import Announce
from omdiscd.wire.seal import Opener, Sealer
from omprotocol.certificates import Identity, server_context
from omprotocol.errors import EXIT_FAILED, MosixError
from omprotocol.paths import Paths

log = logging.getLogger(__name__)

ANY_ADDRESS = "0.0.0.0"
STARTING_S = 20.0
"""How long all servers together may take to be ready."""
LEAVING_S = 20.0
"""How long the parts may take to end; what other processes hold is not affected by ending without them."""


class Leaving(Exception):
    """The daemon was asked to end."""


class Daemon:
    """One life of the daemon. `reread` returns the settings as they are on disk now, or raises MosixError."""

    def __init__(self, settings: Settings, paths: Paths, reread: Callable[[], Settings]) -> None:
        """Put the parts together. Raises MosixError when the network of the settings cannot be used."""
        config, key, network = settings.config, settings.key, settings.config.network
        found = present_interfaces(settings.interfaces, network.address)
        if not found:
            raise _no_address(settings.interfaces)
        number, found = settings.numbering.own(found)
        boot_id = os.urandom(BOOT_ID_BYTES)
        known = (*(int(IPv4Address(seed)) for seed in network.seeds), *settings.numbering.seeds(number))
        self.discovery = Discovery(
            number,
            boot_id,
            _announcement(config, found),
            settings.numbering.number_of,
            SystemRandom(),
            time.monotonic(),
            timings=_timings(config),
            seeds=tuple((address, network.gossip_port) for address in known),
            uses_multicast=network.multicast,
        )
        address = str(IPv4Address(found[0].address))
        self.node = Node(self.discovery, Identity.create(key, number), address, config, paths)
        self.membership = Membership(
            self.discovery,
            Sealer(key, network.label, number, boot_id),
            Opener(key, network.label),
            lambda: present_interfaces(settings.interfaces, network.address),
            config.membership.period_s,
            self._member_changed,
        )
        self.verbs = Registry()
        self.peer_verbs = PeerRegistry()
        self.control = ControlServer(paths.control_socket, self.verbs, admin_group_id())
        context = server_context(self.node.identity)
        self.peers = PeerServer(network.address or ANY_ADDRESS, network.peer_port, context, self.peer_verbs)
        self.services: list[Service] = [
            ClusterVerbs(self.node, self.membership, self.peers, self.control, settings),
            administration := Administration(self.node, migration := Migration(self.node)),
            migration,
        ]
        migration.refuse_guests_when(administration.refusal_of_guests)
        form = section(config.balancing, BalancingForm, paths.config_file, "balancing")
        balancing = Balancing(self.node, administration, migration, form)
        administration.service.use_load(balancing)
        self.services.append(balancing)
        self._settings = settings
        self._reread = reread
        self._stop = asyncio.Event()
        self._is_to_return = False

    async def run(self, on_ready: Callable[[], None]) -> bool:
        """Serve until told to end, then leave the cluster. True: start another life with the new settings.

        `on_ready` is called once everything serves. Raises AddressChanged, MosixError, OSError.
        """
        self.verbs.add("reload", self._reload_verb, "admin")
        for service in self.services:
            service.register(self.verbs, self.peer_verbs)
        network = self.node.config.network
        ports = {"discovery": network.discovery_port, "gossip": network.gossip_port}
        take = self.membership.take
        sockets = DatagramSockets(network.group, ports, network.multicast_ttl, take, network.multicast)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR1, _toggle_debug)
        try:
            async with asyncio.TaskGroup() as group:
                await self._start(group, sockets)
                on_ready()
                group.create_task(_feed_watchdog(), name="watchdog")
                await self._stop.wait()
                notify("RELOADING=1" if self._is_to_return else "STOPPING=1")
                self.membership.leave()
                loop.call_later(LEAVING_S, _give_up)
                raise Leaving
        except* Leaving:
            log.info("daemon.exiting")
        finally:
            sockets.close()
        return self._is_to_return

    async def _start(self, group: asyncio.TaskGroup, sockets: DatagramSockets) -> None:
        ready = [asyncio.Event() for _ in range(3)]
        group.create_task(self.membership.run(sockets, ready[0]), name="membership")
        group.create_task(self.control.run(ready[1]), name="control")
        group.create_task(self.peers.run(ready[2]), name="peers")
        async with asyncio.timeout(STARTING_S):
            for event in ready:
                await event.wait()
        for service in self.services:
            group.create_task(service.run(), name=type(service).__name__)

    def _member_changed(self, member: Member, before: MemberState | None) -> None:
        view = view_of(member, time.monotonic())
        for service in self.services:
            try:
                service.on_member_change(view, before.value if before else None)
            except Exception:
                log.exception("daemon.service_failed", extra={"service": type(service).__name__})

    def _reload(self) -> bool:
        """Read the settings anew; True when they changed, and this life ends. Raises MosixError."""
        self.control.admin_gid = admin_group_id()
        if self._reread() == self._settings:
            return False
        self._is_to_return = True
        self._stop.set()
        return True

    def _hang_up(self) -> None:
        try:
            log.info("daemon.reloaded", extra={"changed": self._reload()})
        except MosixError as error:
            log.error("daemon.reload_failed", extra={"error": error.message})

    async def _reload_verb(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        return {"changed": self._reload()}


def _announcement(config: Config, found: list[Interface]) -> Announce:
    host = re.sub(r"[^a-z0-9-]", "-", socket.gethostname().partition(".")[0].lower())[:63]
    return Announce(
        addresses=tuple(interface.address for interface in found),
        gossip_port=config.network.gossip_port,
        peer_port=config.network.peer_port,
        name=host,
        version=__version__,
        incarnation=0,
        active_ms=0,
    )


def _timings(config: Config) -> Timings:
    given = config.membership
    return Timings(
        period_s=given.period_s,
        announce_s=given.announce_s,
        joining_s=given.joining_s,
        silent_periods=given.silent_periods,
        probe_periods=given.probe_periods,
        suspicion_min_periods=given.suspicion_min_periods,
        suspicion_max_periods=given.suspicion_max_periods,
    )


def _no_address(interfaces: tuple[str, ...]) -> MosixError:
    known = {name for _index, name in socket.if_nameindex()}
    missing = [name for name in interfaces if name not in known]
    if missing:
        why = f"there is no interface {', '.join(missing)} on this machine"
    else:
        why = f"{', '.join(interfaces)} is down or has no IPv4 address"
    message = f"Unable to initialize network: {why}. Exiting."
    return MosixError("no-address", message, EXIT_FAILED)


def _toggle_debug() -> None:
    log.info("daemon.debug", extra={"debug": logs.toggle_debug()})


def _give_up() -> None:
    log.critical("daemon.stuck")
    os._exit(EXIT_FAILED)


async def _feed_watchdog() -> None:
    period_s = watchdog_period_s()
    while period_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s)
