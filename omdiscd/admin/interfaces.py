"""What administration needs from the rest of the daemon, as interfaces.

Owns the seams to membership, migration and the balancer, so that each can be written, replaced and tested
alone. Contains no behaviour except the answers of a daemon that cannot migrate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from migrated.core.hints import NO_HINTS, Hints
from omprotocol.errors import EXIT_FAILED, MosixError

Destination = int | Literal["home", "balance"]
Progress = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class GuestHere:
    """A process whose home is another node; `pid` is its PID on this machine, `home_pid` that at home.

    `came_from` is the node it was on before, `hints` what that one's balancer told.
    """

    pid: int
    home: int
    home_pid: int
    uid: int
    gid: int = 0
    nmigs: int = 1
    command: str = ""
    came_from: int = 0
    hints: Hints = NO_HINTS


@dataclass(frozen=True, slots=True)
class ProcessAway:
    """A process whose home is here and whose body runs on `node`."""

    pid: int
    node: int
    nmigs: int = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """What the body of a process away uses; /proc here shows only what stayed at home."""

    cpu_s: float
    rss_bytes: int
    run_delay_s: float = 0.0


class MigrationControl(Protocol):
    """The migration service as administration sees it. Nothing here may block the loop."""

    def guests(self) -> Sequence[GuestHere]:
        """Guests on this node now."""

    def away(self) -> Sequence[ProcessAway]:
        """Processes of this node that run elsewhere now."""

    def nmigs(self, pid: int) -> int:
        """How often this local process has moved since it started; 0 for one that never did."""

    def cantmove(self, pid: int) -> Sequence[str]:
        """Reasons in the words of openmosix.md 13.9 why the local process cannot move; empty when it can."""

    async def usage(self, pid: int) -> Usage | None:
        """What the body of a process away uses, None where that is not known. Has a deadline of its own."""

    async def move(
        self, pid: int, to: Destination, progress: Progress, hints: Hints | None = None
    ) -> Mapping[str, Any]:
        """Move a process whose home is here. Returns when it runs there. Raises MosixError; cancellable."""

    async def send_guest(self, pid: int, to: Destination, hints: Hints | None = None) -> None:
        """Ask the guest's home to move it. Returns when it has left this node. Raises MosixError."""


class NoMigration:
    """A node on which nothing can migrate: no guests, nobody away."""

    def guests(self) -> Sequence[GuestHere]:
        return ()

    def away(self) -> Sequence[ProcessAway]:
        return ()

    def nmigs(self, pid: int) -> int:
        return 0

    def cantmove(self, pid: int) -> Sequence[str]:
        return ()

    async def usage(self, pid: int) -> Usage | None:
        return None

    async def move(
        self, pid: int, to: Destination, progress: Progress, hints: Hints | None = None
    ) -> Mapping[str, Any]:
        raise MosixError("no-migration", "Migration is not available on this node.", EXIT_FAILED)

    async def send_guest(self, pid: int, to: Destination, hints: Hints | None = None) -> None:
        raise MosixError("no-migration", "Migration is not available on this node.", EXIT_FAILED)


class ClusterView(Protocol):
    """Membership as administration sees it."""

    @property
    def own_node(self) -> int:
        """Number of this node; 0 while openMosix is not configured."""

    def nodes(self) -> Sequence[tuple[int, str]]:
        """All configured nodes with their primary addresses, this one included, by number."""

    def address_of(self, node: int) -> str | None:
        """The primary address of a configured node, None for one that is not; quick however many there are."""

    def is_up(self, node: int) -> bool:
        """Whether the node is believed to be alive."""

    async def call(self, node: int, verb: str, args: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask a verb of another node. Raises MosixError (PeerUnreachable, PeerRefused) by the deadline."""


class LoadSource(Protocol):
    """Where the load of this node comes from."""

    def sample(self, speed: int) -> None:
        """Called once a second with the node's speed; must not block."""

    @property
    def local(self) -> int:
        """Load in raw units: 100 is one process on one standard processor."""

    @property
    def utilizability(self) -> int:
        """Per cent; 100 x cpus is full."""
