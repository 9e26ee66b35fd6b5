"""What a service of the daemon looks like, so that the composition root can run it.

Owns the interface only.
"""

from __future__ import annotations

from typing import Protocol

from omdiscd.control.registry import Registry
from omdiscd.io.peer_server import PeerRegistry
from omdiscd.node import MemberView


class Service(Protocol):
    """A part of the daemon that `daemon.py` composes. Everything is called in the daemon's event loop."""

    def register(self, verbs: Registry, peer_verbs: PeerRegistry) -> None:
        """Add the verbs of the service. Called once, before `run`."""

    async def run(self) -> None:
        """Work until cancelled; may return when there is nothing to do. An error that escapes ends the
        daemon.
        """

    def on_member_change(self, member: MemberView, before: str | None) -> None:
        """Take note that a node came into another state; must not block, should not raise."""
