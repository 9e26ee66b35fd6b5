"""What the pure core asks of the daemon around it.

Effects are values: the core returns them, the daemon carries them out in order. An effect that cannot be
carried out (no interface, a full socket) may be dropped; the protocol says everything more than once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from omdiscd.core.member import Member, MemberState
from omdiscd.wire.messages import Message


@dataclass(frozen=True)
class Multicast:
    """Send `message` to the group on every interface: to the discovery port or to the gossip port."""

    channel: Literal["discovery", "gossip"]
    message: Message


@dataclass(frozen=True)
class Send:
    """Send `message` to one address (IPv4 as an integer) and UDP port."""

    address: int
    port: int
    message: Message


@dataclass(frozen=True)
class MemberChanged:
    """A member came to be in another state, or another start of its daemon took its place."""

    member: Member
    before: MemberState | None


@dataclass(frozen=True)
class Report:
    """Something for the log: a fixed event name and its facts."""

    level: Literal["info", "warning"]
    event: str
    facts: tuple[tuple[str, str | int], ...]


Effect: TypeAlias = Multicast | Send | MemberChanged | Report
