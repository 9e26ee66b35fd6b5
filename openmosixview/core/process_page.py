"""One page of a long list of processes: filtered, sorted, cut.

Owns what filters and orders mean. Pure, and quick for tens of thousands of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

MAX_ROWS = 200
"""Rows of one page; a browser stays fluid with so many."""


class Row(Protocol):
    """What is looked at for sorting and filtering."""

    @property
    def pid(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def node(self) -> int: ...
    @property
    def nmigs(self) -> int: ...
    @property
    def cpu_percent(self) -> float: ...
    @property
    def rss_bytes(self) -> int: ...
    @property
    def time_s(self) -> float: ...
    @property
    def command(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def nice(self) -> int: ...


R = TypeVar("R", bound=Row)

KEYS: dict[str, Callable[[Any], Any]] = {
    "pid": lambda row: row.pid,
    "user": lambda row: row.user,
    "node": lambda row: row.node,
    "nmigs": lambda row: row.nmigs,
    "state": lambda row: row.state,
    "nice": lambda row: row.nice,
    "cpu": lambda row: row.cpu_percent,
    "memory": lambda row: row.rss_bytes,
    "time": lambda row: row.time_s,
    "command": lambda row: row.command,
}


@dataclass(frozen=True)
class Wanted:
    """What the user wants to see. `node` None: wherever; 0: at home; -1: away. Empty texts: everybody."""

    sort: str = "cpu"
    descending: bool = True
    user: str = ""
    text: str = ""
    node: int | None = None
    offset: int = 0


def page_of(rows: Sequence[R], wanted: Wanted) -> tuple[list[R], int]:
    """The rows of one page and how many there are in all. An unknown order is by PID."""
    kept = [row for row in rows if _matches(row, wanted)]
    key = KEYS.get(wanted.sort, KEYS["pid"])
    # Equal rows stay in the order of their PIDs, so that a live list does not shuffle.
    kept.sort(key=lambda row: row.pid)
    kept.sort(key=key, reverse=wanted.descending)
    offset = min(max(0, wanted.offset), max(0, len(kept) - 1) // MAX_ROWS * MAX_ROWS)
    return kept[offset : offset + MAX_ROWS], len(kept)


def _matches(row: Row, wanted: Wanted) -> bool:
    if wanted.user and row.user != wanted.user:
        return False
    if wanted.node is not None and (row.node == 0 if wanted.node == -1 else row.node != wanted.node):
        return False
    return not wanted.text or wanted.text in str(row.pid) or wanted.text.casefold() in row.command.casefold()
