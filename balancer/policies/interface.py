"""What every policy offers. A policy has no state: all it may use is in the view and the draws it is given."""

from __future__ import annotations

from typing import Protocol

from balancer.draw import Draw
from balancer.facts import Move, Stay, View
from balancer.gossip import GossipPlan
from balancer.trace import Trace


class Policy(Protocol):
    """Chooses a move for a loaded node, and a node for a new program."""

    @property
    def name(self) -> str: ...

    @property
    def asks_first(self) -> bool:
        """True when a target is asked for a lease before anything moves."""
        ...

    @property
    def ushers(self) -> bool:
        """True when short memory is handled before load."""
        ...

    @property
    def compares(self) -> bool:
        """True when all nodes named for a new program are asked and the least loaded one takes it."""
        ...

    @property
    def plan(self) -> GossipPlan:
        """The gossip this policy was made for."""
        ...

    def choose_move(self, view: View, draw: Draw, trace: Trace | None) -> Move | Stay:
        """Which process goes where, or why none does."""
        ...

    def choose_place(
        self, view: View, rss_bytes: float, allowed: frozenset[int] | None, draw: Draw, trace: Trace | None
    ) -> tuple[int, ...]:
        """Where a new program should start, first choice first; empty = here."""
        ...
