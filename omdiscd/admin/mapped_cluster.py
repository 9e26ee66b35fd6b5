"""The cluster as administration shows it: with a static map, the nodes that were never heard are there, too.

Owns only the joining of the map with membership. A node that is configured and silent must be seen as such, not
be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from omdiscd.node import MemberView
from omprotocol.errors import MosixError, PeerUnreachable
from omprotocol.static_map import StaticMap


class HeardCluster(Protocol):
    """Membership as the daemon's node tells of it."""

    @property
    def own_node(self) -> int:
        """Number of this node; 0 while it holds none."""

    @property
    def number(self) -> int:
        """The number it holds or wants."""

    @property
    def address(self) -> str:
        """Its primary address."""

    def nodes(self) -> Sequence[tuple[int, str]]:
        """All nodes that were heard, with their addresses, this one included."""

    def member(self, node: int) -> MemberView | None:
        """One other node."""

    def is_up(self, node: int) -> bool:
        """Whether it is believed to be alive."""

    async def call(self, node: int, verb: str, args: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask it a verb. Raises MosixError."""


class MappedCluster:
    """A ClusterView that lists the nodes of `table` besides those of `cluster`."""

    def __init__(self, cluster: HeardCluster, table: StaticMap | None) -> None:
        self._cluster = cluster
        self._listed = {} if table is None else {node: str(address) for node, address in table.nodes()}

    @property
    def own_node(self) -> int:
        return self._cluster.own_node

    def nodes(self) -> Sequence[tuple[int, str]]:
        heard = self._cluster.nodes()
        return sorted((self._listed | dict(heard)).items()) if self._listed else heard

    def address_of(self, node: int) -> str | None:
        if node == self._cluster.own_node:
            return self._cluster.address if node else None
        member = self._cluster.member(node)
        if member is not None and member.state != "joining":
            return member.address
        return self._listed.get(node)

    def is_up(self, node: int) -> bool:
        return self._cluster.is_up(node)

    async def call(self, node: int, verb: str, args: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        try:
            return await self._cluster.call(node, verb, args, timeout_s)
        except MosixError as error:
            if error.code == "no-such-node" and node in self._listed:
                raise PeerUnreachable("node-down", f"Node #{node} is down.", error.exit_status) from None
            raise
