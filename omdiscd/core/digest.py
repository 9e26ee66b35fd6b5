"""Spreading membership by hearsay, for networks without multicast and for datagrams that were lost.

Owns what a digest names and what is believed of one. Hearsay keeps a known member fresh and makes an
unknown one worth a challenge; it never makes or kills a member by itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from omdiscd.core.failure_detector import FailureDetector
from omdiscd.core.member import Member, MemberState, Timings
from omdiscd.core.roster import Roster
from omdiscd.wire.messages import DIGEST_MAX, DigestEntry

OLDEST_IN_TURN = 8
"""Entries of a digest given to members in turn, so that none is forgotten; the others are the newest."""
STALE_PERIODS = 10.0
"""Hearsay older than this is not worth a challenge."""


class Hearsay:
    """Builds and believes digests for the members of `roster`."""

    def __init__(self, node: int, roster: Roster, detector: FailureDetector, timings: Timings) -> None:
        self._node = node
        self._roster = roster
        self._detector = detector
        self._timings = timings
        self._turn = 0

    def entries(self, now: float) -> tuple[DigestEntry, ...]:
        """Return the newest members and a few of the others in turn, DIGEST_MAX at most."""
        known = [m for m in self._roster if m.is_present]
        if len(known) > DIGEST_MAX:
            newest = heapq.nlargest(DIGEST_MAX - OLDEST_IN_TURN, known, key=lambda m: m.heard_at)
            named = {m.node for m in newest}
            others = [m for m in known if m.node not in named]
            start = self._turn % len(others)
            self._turn += OLDEST_IN_TURN
            known = newest + (others[start:] + others[:start])[:OLDEST_IN_TURN]
        return tuple(_entry(member, now) for member in known)

    def absorb(self, entries: Iterable[DigestEntry], now: float) -> list[DigestEntry]:
        """Take in what another member knows; return the entries that are worth a challenge."""
        unknown: list[DigestEntry] = []
        for entry in entries:
            if entry.node == self._node:
                continue
            heard_at = now - entry.age_ms / 1000
            member = self._roster.get(entry.node)
            if member is None or member.boot_id != entry.boot_id:
                if now - heard_at <= STALE_PERIODS * self._timings.period_s:
                    unknown.append(entry)
            elif heard_at > member.heard_at:
                self._believe(member, heard_at, now)
        return unknown

    def _believe(self, member: Member, heard_at: float, now: float) -> None:
        if member.state is MemberState.ALIVE:
            member.heard_at = heard_at
        elif member.state is MemberState.JOINING:
            member.heard_at = heard_at
            if heard_at > member.state_since:  # digests name only nodes that hold their number
                self._roster.set_state(member, MemberState.ALIVE, now)
        elif member.state is MemberState.SUSPECT and member.suspicion is not None:
            if heard_at > member.suspicion.since:
                self._detector.heard(member, heard_at, now)
        elif member.state is MemberState.DEAD and now - heard_at < self._timings.silent_s:
            self._detector.probe(member, now)


def _entry(member: Member, now: float) -> DigestEntry:
    return DigestEntry(
        node=member.node,
        boot_id=member.boot_id,
        address=member.address,
        gossip_port=member.gossip_port,
        incarnation=member.incarnation,
        age_ms=max(0, int((now - member.heard_at) * 1000)),
    )
