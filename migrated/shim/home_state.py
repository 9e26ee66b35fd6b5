"""Everything a home shim knows about its one process, and the journal that makes it durable.

Owns no I/O but the journal's.  The steps of a journey (`departure`, `away_life`, `homecoming`, `onward`) share it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from migrated.core.lease import GRACE_S, LEASE_S, HomeLease
from migrated.core.ledger import State, advance
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.hollow import Hollow
from migrated.deputy.pending import PendingFilter
from migrated.journal import Journal, Record
from migrated.shim.children import Child
from migrated.shim.claim import Claim
from migrated.shim.fault_points import fault_point
from migrated.shim.home_relays import HomeRelays
from migrated.shim.link import Link
from migrated.survey.facts import ProcessVanished, read_facts
from migrated.survey.survey import Survey
from omprotocol.certificates import Identity
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)


class HomeSpec(msgspec.Struct):
    """What the daemon tells a new home shim."""

    pid: int
    start_ticks: int
    node: int
    run_dir: str
    state_dir: str
    etc_dir: str
    lease_s: float = LEASE_S
    grace_s: float = GRACE_S


class Destination(msgspec.Struct, frozen=True):
    """A node to move to: number, address and the port of its daemon."""

    node: int
    address: str
    port: int


class MoveReport(msgspec.Struct):
    """What a finished move cost.  Times in milliseconds, bytes as sent between the nodes."""

    pid: int
    origin: int
    target: int
    frozen_ms: float = 0.0
    total_ms: float = 0.0
    bytes: int = 0
    in_place: bool = True
    fed: bool = False


@dataclass
class Residence:
    """Where the body lives now, and the connections to it."""

    destination: Destination
    migration_id: str
    token: str
    link: Link
    file_server: Child | None
    pages_port: int
    files_port: int


@dataclass
class HomeState:
    """The one process of this shim."""

    spec: HomeSpec
    identity: Identity
    journal: Journal
    record: Record
    claim: Claim
    pidfd: int
    survey: Survey | None = None
    hollow: Hollow | None = None
    channel: DeputyChannel | None = None
    relays: HomeRelays = field(default_factory=HomeRelays)
    residence: Residence | None = None
    lease: HomeLease = field(init=False)
    signals_in_image: list[int] = field(default_factory=list)
    pending: PendingFilter = field(default_factory=lambda: PendingFilter(()))
    body_stopped: bool = False
    foreground: bool = False
    controls_terminal: bool = False
    cpu_s: float = 0.0
    rss_bytes: int = 0
    run_delay_s: float = 0.0
    hints: dict[str, Any] = field(default_factory=dict)
    """What the balancer that asked for the present move wants its colleague at the destination to know."""

    def __post_init__(self) -> None:
        self.lease = HomeLease(now(), self.spec.lease_s, self.spec.grace_s)

    @property
    def pid(self) -> int:
        """The process's PID at home."""
        return self.spec.pid

    @property
    def state(self) -> State:
        """Where it is in its journey."""
        return self.record.state

    @property
    def work_dir(self) -> Path:
        """Our directory for this process, on a tmpfs."""
        return Path(self.spec.run_dir) / "away" / str(self.pid)

    def is_in_foreground(self) -> bool:
        """Whether the original's group is the foreground group of its terminal now."""
        try:
            facts = read_facts(self.pid)
        except ProcessVanished:
            return False
        return facts.foreground_pgid == facts.pgid

    def step(self, wanted: State) -> None:
        """Take one step of the commit protocol and make it durable.

        Raises IllegalStep; JournalUnwritable with the state as it was.
        """
        before, self.record.state = self.record.state, advance(self.record.state, wanted)
        try:
            self.journal.write(self.record)
        except OSError as error:
            self.record.state = before
            raise JournalUnwritable(self.pid, self.journal.directory, error) from error

    def settle(self, wanted: State) -> None:
        """Take a step that is true whether it can be written down or not: the end, or back where nothing moved."""
        self.record.state = advance(self.record.state, wanted)
        try:
            self.journal.write(self.record)
        except OSError as error:
            _log.error("journal.unwritable", extra={"pid": self.pid, "why": str(error)})

    async def at(self, step: str) -> None:
        """Be at a named step (see `fault_points`)."""
        await fault_point(self.spec.run_dir, step)


class JournalUnwritable(MosixError):
    """A decision could not be made durable, so it was not made."""

    def __init__(self, pid: int, directory: Path, error: OSError) -> None:
        why = error.strerror or str(error)
        super().__init__("journal", f"The journal {directory} cannot be written ({why}); process {pid} stays.", 255)


def now() -> float:
    """Seconds on a clock that counts suspended time too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
