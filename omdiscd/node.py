"""What the services of a daemon may know of their node and its cluster.

Owns the read-only view that `daemon.py` hands to every service: own number, members, identity, paths,
configuration, and calling other nodes. Never changes membership.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from omdiscd.config import Config
from omdiscd.core.claim import ClaimState
from omdiscd.core.discovery import Discovery
from omdiscd.core.gossip_payload import GossipPayload
from omdiscd.core.member import Member
from omprotocol.certificates import Identity, client_context
from omprotocol.errors import EXIT_FAILED, EXIT_NOT_FOUND, MosixError, PeerUnreachable
from omprotocol.paths import Paths
from omprotocol.peer import call

PEER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class MemberView:
    """One other node at one moment. `state` as in MemberState; `since_s` in that state; `heard_s` since
    last heard.
    """

    node: int
    address: str
    addresses: tuple[str, ...]
    state: str
    is_up: bool
    name: str
    version: str
    boot_id: str
    incarnation: int
    peer_port: int
    since_s: float
    heard_s: float


class Node:
    """This node. `number` is its number by rule; it holds it only while `state` is active."""

    def __init__(self, discovery: Discovery, identity: Identity, address: str, config: Config, paths: Paths) -> None:
        self.number = discovery.node
        self.address = address
        self.boot_id = discovery.boot_id.hex()
        self.identity = identity
        self.config = config
        self.paths = paths
        self._discovery = discovery
        self._client_context: ssl.SSLContext = client_context(identity)

    @property
    def state(self) -> ClaimState:
        """Whether this node holds its number."""
        return self._discovery.claim.state

    @property
    def own_node(self) -> int:
        """The number this node holds; 0 while it holds none."""
        return self.number if self.state is ClaimState.ACTIVE else 0

    def use_gossip(self, payload: GossipPayload) -> None:
        """Let `payload` travel with pulses and gossip from now on; see `core.gossip_payload`."""
        self._discovery.speech.payload = payload

    def members(self) -> list[MemberView]:
        """Return all other nodes that are remembered, by number, the dead included."""
        now = time.monotonic()
        return [view_of(member, now) for member in sorted(self._discovery.roster, key=lambda m: m.node)]

    def member(self, node: int) -> MemberView | None:
        """Return one other node, None when it is not known."""
        member = self._discovery.roster.get(node)
        return view_of(member, time.monotonic()) if member is not None else None

    def nodes(self) -> Sequence[tuple[int, str]]:
        """Return number and address of all nodes that hold a number, this one included, the dead too."""
        known = [(view.node, view.address) for view in self.members() if view.state != "joining"]
        return sorted([*known, (self.own_node, self.address)]) if self.own_node else known

    def is_up(self, node: int) -> bool:
        """Whether the node counts as up."""
        if node == self.number:
            return bool(self.own_node)
        member = self._discovery.roster.get(node)
        return member is not None and member.is_present

    async def call_peer(
        self, node: int, verb: str, args: Mapping[str, Any] | None = None, timeout_s: float = PEER_TIMEOUT_S
    ) -> dict[str, Any]:
        """Ask a verb of another node. Raises MosixError `no-such-node`, PeerUnreachable, PeerRefused or the
        peer's.
        """
        member = self._discovery.roster.get(node)
        if node == self.number:
            raise MosixError("self-call", f"Node {node} is this node.", EXIT_FAILED)
        if member is None:
            raise MosixError("no-such-node", f"Node #{node} is not configured.", EXIT_NOT_FOUND)
        if not member.is_present:
            raise PeerUnreachable("node-down", f"Node #{node} is down.", EXIT_NOT_FOUND)
        address = str(IPv4Address(member.address))
        return await call(address, member.peer_port, self.identity, node, verb, args, timeout_s, self._client_context)

    async def call(self, node: int, verb: str, args: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """As `call_peer`, with everything said."""
        return await self.call_peer(node, verb, args, timeout_s)

    @property
    def machine_boot_id(self) -> str:
        """The kernel's boot id: another one means that every process of the machine is gone. Reads /proc."""
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def view_of(member: Member, now: float) -> MemberView:
    """Return what services see of a member."""
    return MemberView(
        node=member.node,
        address=str(IPv4Address(member.address)),
        addresses=tuple(str(IPv4Address(address)) for address in member.addresses),
        state=member.state.value,
        is_up=member.is_present,
        name=member.name,
        version=member.version,
        boot_id=member.boot_id.hex(),
        incarnation=member.incarnation,
        peer_port=member.peer_port,
        since_s=max(0.0, now - member.state_since),
        heard_s=max(0.0, now - member.heard_at),
    )
