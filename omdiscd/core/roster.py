"""The table of members, with its cap and its changes of state.

Owns who is a member and in which state; every change is said as an effect, exactly once. Never decides why
a state changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from omdiscd.core.effects import Effect, MemberChanged
from omdiscd.core.member import Member, MemberState

if TYPE_CHECKING:
    from random import Random

MEMBERS_MAX = 4096
"""Members remembered, the dead included. Only holders of the cluster key can fill it."""


class Roster:
    """Members by node number, this node not among them."""

    def __init__(self, out: list[Effect]) -> None:
        self._members: dict[int, Member] = {}
        self._out = out

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def get(self, node: int) -> Member | None:
        """Return the member with that number, whatever its state."""
        return self._members.get(node)

    def put(self, member: Member) -> bool:
        """Add or replace a member; False when the table is full of members that are not dead."""
        before = self._members.get(member.node)
        if before is None and len(self._members) >= MEMBERS_MAX and not self._drop_longest_dead():
            return False
        self._members[member.node] = member
        self._out.append(MemberChanged(member, before.state if before else None))
        return True

    def set_state(self, member: Member, state: MemberState, now: float) -> None:
        """Bring a member into `state`; nothing happens when it is in it already."""
        before = member.state
        if before is state:
            return
        member.state = state
        member.state_since = now
        member.probe = None
        if state is not MemberState.SUSPECT:
            member.suspicion = None
        self._out.append(MemberChanged(member, before))

    def present(self) -> list[Member]:
        """Return the members that count as up."""
        return [member for member in self._members.values() if member.is_present]

    def sample(self, rng: Random, count: int, without: int = 0) -> list[Member]:
        """Return up to `count` random members that are alive, never node `without`."""
        alive = [m for m in self._members.values() if m.state is MemberState.ALIVE and m.node != without]
        return alive if len(alive) <= count else rng.sample(alive, count)

    def forget(self, before: float) -> None:
        """Drop members that are dead or gone since before that time."""
        old = [m.node for m in self._members.values() if not m.is_present and m.state_since < before]
        for node in old:
            del self._members[node]

    def _drop_longest_dead(self) -> bool:
        gone = [m for m in self._members.values() if m.state in (MemberState.DEAD, MemberState.LEFT)]
        if not gone:
            return False
        del self._members[min(gone, key=lambda m: m.state_since).node]
        return True
