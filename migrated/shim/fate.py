"""What became of a copy whose start was ordered and never confirmed.

The guest's node keeps the fate of each migration; home asks until it answers, and otherwise until the copy cannot be
executing any more: its lease began before the order to go, and home grants no other once it has dropped the link.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

from migrated.core.lease import certain_after_s
from migrated.shim.home_state import HomeState, Residence
from omprotocol.certificates import Identity
from omprotocol.errors import MosixError
from omprotocol.peer import call

_ASK_TIMEOUT_S = 3.0
_PAUSE_S = 0.2


class Fate(StrEnum):
    """What the guest's node knows of a copy.  Only the first two are an end."""

    NEVER_RAN = "never-ran"
    RAN = "ran"
    RUNNING = "running"
    PENDING = "pending"
    UNKNOWN = "unknown"


ENDED = frozenset({Fate.NEVER_RAN, Fate.RAN})


async def ask_fate(shim: HomeState, residence: Residence) -> Fate:
    """Ask the guest's node; the link to it must be closed.  On return the copy does not execute any more."""
    destination = residence.destination
    within_s = certain_after_s(shim.spec.lease_s)
    return await ask_node(
        shim.identity, destination.address, destination.port, destination.node, residence.migration_id, within_s
    )


async def ask_node(identity: Identity, address: str, port: int, node: int, migration_id: str, within_s: float) -> Fate:
    """Ask `node` what became of a migration until it is over or `within_s` have passed; UNKNOWN then."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                fate = await _ask_once(identity, address, port, node, migration_id)
                if fate in ENDED:
                    return fate
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        return Fate.UNKNOWN


async def _ask_once(identity: Identity, address: str, port: int, node: int, migration_id: str) -> Fate:
    args = {"migration_id": migration_id}
    try:
        answer = await call(address, port, identity, node, "guest-fate", args, timeout_s=_ASK_TIMEOUT_S)
        return Fate(str(answer.get("fate")))
    except (MosixError, ValueError):
        return Fate.UNKNOWN
