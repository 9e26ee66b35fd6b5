"""The verbs `showmap` and `status`, and the peer verb `ping`.

Owns what the daemon tells about its cluster. Facts only; the commands decide how they look.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from ipaddress import IPv4Address
from typing import Any

from omdiscd import __version__
from omdiscd.control.registry import Caller, Registry
from omdiscd.control.server import ControlServer
from omdiscd.io.peer_server import PeerCaller, PeerRegistry, PeerServer
from omdiscd.membership import Membership
from omdiscd.node import MemberView, Node
from omdiscd.settings import Settings
from omprotocol.cluster_key import fingerprint


class ClusterVerbs:
    """A service (see `service.Service`) that only answers."""

    def __init__(
        self,
        node: Node,
        membership: Membership,
        peers: PeerServer,
        control: ControlServer,
        settings: Settings,
    ) -> None:
        self._node = node
        self._table = settings.numbering.table
        self._membership = membership
        self._peers = peers
        self._control = control
        self._fingerprint = fingerprint(settings.key)
        self._started = time.monotonic()

    def register(self, verbs: Registry, peer_verbs: PeerRegistry) -> None:
        """Add the verbs."""
        verbs.add("showmap", self._showmap, "anyone")
        verbs.add("status", self._status, "anyone")
        peer_verbs.add("ping", self._ping)

    async def run(self) -> None:
        """Return at once."""

    def on_member_change(self, member: MemberView, before: str | None) -> None:
        """Ignore it."""

    async def _showmap(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        rival = self._membership.discovery.claim.winner(time.monotonic())
        entries: list[dict[str, Any]] = []
        if self._node.own_node:
            own = (str(IPv4Address(a)) for a in self._membership.discovery.speech.me.addresses)
            entries += _rows(self._node.number, tuple(own), "self")
        for view in self._node.members():
            if view.state != "joining":
                entries += _rows(view.node, view.addresses, view.state)
        if self._table is not None:
            known = {entry["node"] for entry in entries}
            silent = ((node, str(a)) for node, a in self._table.nodes() if node not in known)
            for node, address in silent:
                entries += _rows(node, (address,), "unknown")
        return {
            "node": self._node.own_node,
            "claimed": self._node.number,
            "state": self._node.state.value,
            "is_static": self._table is not None,
            "taken_by": str(IPv4Address(rival.address)) if rival is not None else None,
            "entries": sorted(entries, key=lambda entry: (entry["node"], entry["count"] is None)),
        }

    async def _status(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        discovery = self._membership.discovery
        now = time.monotonic()
        rivals = [
            {"address": str(IPv4Address(rival.address)), "heard_s": round(now - rival.heard_at, 3)}
            for rival in discovery.claim.rivals.values()
        ]
        sockets = self._membership.sockets
        interfaces = sockets.interfaces if sockets is not None else []
        return {
            "node": self._node.own_node,
            "claimed": self._node.number,
            "state": self._node.state.value,
            "address": self._node.address,
            "interfaces": [{"name": i.name, "address": str(IPv4Address(i.address))} for i in interfaces],
            "collisions": rivals,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(now - self._started, 3),
            "key_fingerprint": self._fingerprint,
            "boot_id": self._node.boot_id,
            "health": discovery.detector.awareness.score,
            "members": [asdict(view) for view in self._node.members()],
            "counters": {
                "datagrams": self._membership.counters(),
                "peer": {
                    "refused_connections": self._peers.refused_connections,
                    "failed_handshakes": self._peers.failed_handshakes,
                },
                "control": {"refused_connections": self._control.refused_connections},
            },
        }

    async def _ping(self, peer: PeerCaller, _args: dict[str, Any]) -> dict[str, Any]:
        return {"node": self._node.number, "boot_id": self._node.boot_id, "you": peer.node}


def _rows(node: int, addresses: tuple[str, ...], state: str) -> list[dict[str, Any]]:
    primary = {"node": node, "address": addresses[0], "count": 1, "state": state}
    aliases = [{"node": node, "address": a, "count": None, "state": state} for a in addresses[1:]]
    return [primary, *aliases]
