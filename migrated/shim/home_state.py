"""Everything a home shim knows about its one process, and the journal that makes it durable.

Owns no I/O but the journal's.  The steps of a journey (`departure`, `away_life`, `homecoming`, `onward`) share it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from migrated.core.lease import HomeLease
from migrated.core.ledger import State, advance
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.hollow import Hollow
from migrated.deputy.pending import PendingFilter
from migrated.journal import Journal, Record
from migrated.shim.children import Child
from migrated.shim.home_relays import HomeRelays
from migrated.shim.link import Link
from migrated.survey.facts import ProcessVanished, read_facts
from migrated.survey.survey import Survey
from omprotocol.certificates import Identity


class HomeSpec(msgspec.Struct):
    """What the daemon tells a new home shim."""

    pid: int
    start_ticks: int
    node: int
    run_dir: str
    state_dir: str
    etc_dir: str


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
    survey: Survey | None = None
    hollow: Hollow | None = None
    channel: DeputyChannel | None = None
    relays: HomeRelays = field(default_factory=HomeRelays)
    residence: Residence | None = None
    lease: HomeLease = field(default_factory=lambda: HomeLease(answered_at_s=now()))
    signals_in_image: list[int] = field(default_factory=list)
    pending: PendingFilter = field(default_factory=lambda: PendingFilter(()))
    body_stopped: bool = False
    foreground: bool = False
    controls_terminal: bool = False
    ran_at_guest: bool = False
    cpu_s: float = 0.0
    rss_bytes: int = 0

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
        """Take one step of the commit protocol and make it durable.  Raises IllegalStep, OSError."""
        self.record.state = advance(self.record.state, wanted)
        self.journal.write(self.record)


def now() -> float:
    """Seconds on a clock that counts suspended time too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
