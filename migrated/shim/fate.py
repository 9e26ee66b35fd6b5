"""What became of a copy whose start was ordered and never confirmed.

The guest's node keeps the fate of each migration; home asks until it answers, for as long as the copy could
still begin (the gate's deadline) or run (the lease).  Silence counts as "it may have run".
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

from migrated.core.lease import LEASE_S
from migrated.shim.home_state import HomeState, Residence
from omprotocol.certificates import Identity
from omprotocol.errors import MosixError
from omprotocol.peer import call

GATE_S = 30.0
_ASK_TIMEOUT_S = 3.0
_PAUSE_S = 0.5


class Fate(StrEnum):
    """The end of a copy on its node."""

    NEVER_RAN = "never-ran"
    RAN = "ran"
    UNKNOWN = "unknown"


async def ask_fate(shim: HomeState, residence: Residence) -> Fate:
    """Ask the guest's node; waits at most the gate's deadline and the lease together."""
    destination = residence.destination
    return await ask_node(
        shim.identity, destination.address, destination.port, destination.node, residence.migration_id
    )


async def ask_node(identity: Identity, address: str, port: int, node: int, migration_id: str) -> Fate:
    """Ask `node` what became of a migration until it knows; UNKNOWN when it does not answer in time."""
    try:
        async with asyncio.timeout(GATE_S + LEASE_S * 1.1 + 1.0):
            while True:
                fate = await _ask_once(identity, address, port, node, migration_id)
                if fate is not None:
                    return fate
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        return Fate.UNKNOWN


async def _ask_once(identity: Identity, address: str, port: int, node: int, migration_id: str) -> Fate | None:
    args = {"migration_id": migration_id}
    try:
        answer = await call(address, port, identity, node, "guest-fate", args, timeout_s=_ASK_TIMEOUT_S)
    except MosixError:
        return None
    word = answer.get("fate")
    return Fate(word) if word in (Fate.NEVER_RAN, Fate.RAN) else None
