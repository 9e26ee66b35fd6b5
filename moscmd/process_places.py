"""Where the processes of this node run, as the commands that list processes need it.

Owns one request and its defaults: without a daemon every process is here. Never reads the hpc tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from omprotocol.control import request
from omprotocol.errors import MosixError

ANSWER_S = 30.0
"""Looking for reasons reads much of /proc on a busy node."""
NOT_CONFIGURED = -1
"""Shown in place of a node number when openMosix does not run here."""


@dataclass(frozen=True)
class Place:
    """Where one process runs (0: here), how often it moved, whether it is locked, and why it cannot move.

    `cpu_s` and `rss_bytes` are those of the body of a process that is away, where they are known.
    """

    where: int = 0
    nmigs: int = 0
    lock: bool = False
    cantmove: tuple[str, ...] = ()
    cpu_s: float | None = None
    rss_bytes: int | None = None

    @property
    def movability(self) -> str:
        """The words of openMosix's CANTMOVE column."""
        if self.cantmove:
            return ",".join(self.cantmove)
        return "migratable but locked" if self.lock else "migratable"


@dataclass(frozen=True)
class Places:
    """All processes of this node; `failure` is set when the daemon gave no answer."""

    by_pid: dict[int, Place] = field(default_factory=dict)
    failure: str = ""

    def of(self, pid: int) -> Place:
        """The place of a process; one that the daemon did not list is here."""
        return self.by_pid.get(pid, Place())

    def node(self, pid: int) -> int:
        """Its node, 0 for here, NOT_CONFIGURED without a daemon."""
        return NOT_CONFIGURED if self.failure else self.of(pid).where


def ask_places(with_cantmove: bool = False) -> Places:
    """Ask the daemon. Never raises: without one, `failure` says so."""
    try:
        rows = request("process.list", {"cantmove": with_cantmove}, timeout_s=ANSWER_S)["processes"]
    except MosixError as error:
        return Places(failure=error.message)
    return Places(
        {
            row["pid"]: Place(
                row["where"],
                row["nmigs"],
                row["lock"],
                tuple(row.get("cantmove", ())),
                row.get("cpu_s"),
                row.get("rss_bytes"),
            )
            for row in rows
        }
    )
