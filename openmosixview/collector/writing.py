"""Writing a history: samples, marks, moves, thinning, saving.

Owns every statement that changes a history. Each is one transaction: a collector killed at any moment leaves
either all of it or nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omprotocol.errors import MosixError

STEPS_S = (10, 120, 900)
"""Seconds between samples: as taken, and after each thinning."""
KEPT_S = (12 * 3600, 14 * 86400, 400 * 86400)
"""How long samples of each step are kept before they are thinned, or dropped at the end."""
PROCESSES_KEPT_S = (3 * 86400, 30 * 86400)
PROCESSES_COARSE_S = 900
MAX_PROCESSES = 200
MAX_MARKS = 1000
SPARE_PAGES = 16
"""A transaction that needs so many pages may fail before the file has its very largest size."""
MAX_MOVES = 100_000
DROPPED_AT_ONCE = 0.1
"""The share of the oldest samples that goes when the file has reached its largest size."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def add_samples(connection: sqlite3.Connection, t: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """One sample of every node that is up; `rows` as of cluster_figures. Loads and memory in per mille."""
    with transaction(connection):
        for row in rows:
            if not row["up"]:
                continue
            memory = round(1000 * row["used_bytes"] / row["total_bytes"]) if row["total_bytes"] else 0
            connection.execute(
                "INSERT OR REPLACE INTO samples(step, t, node, load, mem) VALUES(?, ?, ?, ?, ?)",
                (STEPS_S[0], t, row["node"], round(1000 * row["busy"]), memory),
            )
            facts = (row["address"], row["cpus"], row["speed"], row["total_bytes"])
            known = connection.execute(
                "SELECT address, cpus, speed, total_bytes FROM nodes WHERE node = ? ORDER BY t DESC LIMIT 1",
                (row["node"],),
            ).fetchone()
            if known != facts:
                connection.execute("INSERT OR REPLACE INTO nodes VALUES(?, ?, ?, ?, ?, ?)", (t, row["node"], *facts))


def add_processes(connection: sqlite3.Connection, t: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """The processes of this node at one moment; those away first, then the busiest, at most MAX_PROCESSES."""
    kept = sorted(rows, key=lambda row: (row["node"] == 0, -row["cpu_percent"], row["pid"]))[:MAX_PROCESSES]
    body = zlib.compress(json.dumps(kept, separators=(",", ":")).encode())
    connection.execute("INSERT OR REPLACE INTO processes VALUES(?, ?)", (t, body))


def add_moves(connection: sqlite3.Connection, t: int, moves: Iterable[tuple[int, int, int, str]]) -> None:
    """Migrations seen: (pid, from node, to node, command); 0 is home."""
    with transaction(connection):
        for pid, from_node, to_node, command in moves:
            row = (t, pid, from_node, to_node, command[:80])
            connection.execute("INSERT OR REPLACE INTO moves VALUES(?, ?, ?, ?, ?)", row)


def add_mark(connection: sqlite3.Connection, t: float, text: str) -> None:
    """A checkpoint: a mark in the graphs."""
    with transaction(connection):
        connection.execute("INSERT OR REPLACE INTO marks VALUES(?, ?)", (t, text[:80]))
        connection.execute(
            "DELETE FROM marks WHERE t NOT IN (SELECT t FROM marks ORDER BY t DESC LIMIT ?)", (MAX_MARKS,)
        )


def thin(connection: sqlite3.Connection, now: int) -> None:
    """Turn old samples into coarser ones, and drop the oldest."""
    with transaction(connection):
        for step, coarse, kept_s in zip(STEPS_S, STEPS_S[1:], KEPT_S, strict=False):
            before = (now - kept_s) // coarse * coarse
            connection.execute(
                "INSERT OR REPLACE INTO samples SELECT ?1, t / ?1 * ?1, node,"
                " round(avg(load)), min(coalesce(load_min, load)), max(coalesce(load_max, load)),"
                " round(avg(mem)), min(coalesce(mem_min, mem)), max(coalesce(mem_max, mem))"
                " FROM samples WHERE step = ?2 AND t < ?3 GROUP BY t / ?1, node",
                (coarse, step, before),
            )
            connection.execute("DELETE FROM samples WHERE step = ? AND t < ?", (step, before))
        connection.execute("DELETE FROM samples WHERE step = ? AND t < ?", (STEPS_S[-1], now - KEPT_S[-1]))
        fine_s, coarse_s = PROCESSES_KEPT_S
        connection.execute(
            "DELETE FROM processes WHERE t < ?1 AND t NOT IN"
            " (SELECT min(t) FROM processes WHERE t < ?1 GROUP BY t / ?2)",
            (now - fine_s, PROCESSES_COARSE_S),
        )
        connection.execute("DELETE FROM processes WHERE t < ?", (now - coarse_s,))
        connection.execute(
            "DELETE FROM moves WHERE t < coalesce((SELECT t FROM moves ORDER BY t DESC LIMIT 1 OFFSET ?), 0)",
            (MAX_MOVES,),
        )
    connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()


def is_at_largest_size(connection: sqlite3.Connection) -> bool:
    """Whether the file has grown as far as it may."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return bool(pages + SPARE_PAGES >= connection.execute("PRAGMA max_page_count").fetchone()[0])


def drop_oldest(connection: sqlite3.Connection) -> int:
    """Make room in a file that has reached its largest size; returns how many rows went."""
    dropped = 0
    for step in reversed(STEPS_S):
        first, last = connection.execute("SELECT min(t), max(t) FROM samples WHERE step = ?", (step,)).fetchone()
        if first is not None and last > first:
            before = first + max(1, int((last - first) * DROPPED_AT_ONCE))
            with transaction(connection):
                dropped += connection.execute("DELETE FROM samples WHERE step = ? AND t < ?", (step, before)).rowcount
                dropped += connection.execute("DELETE FROM processes WHERE t < ?", (before,)).rowcount
            return dropped
    return dropped


def save_and_begin_anew(connection: sqlite3.Connection, saved: Path) -> None:
    """Copy the history to a new file `saved`, then empty it. Nothing is emptied unless the copy is complete.

    Samples taken meanwhile stay in the running history. Raises MosixError `history`.
    """
    saved.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    last = connection.execute("SELECT coalesce(max(t), 0) FROM samples").fetchone()[0]
    last_processes = connection.execute("SELECT coalesce(max(t), 0) FROM processes").fetchone()[0]
    last_move = connection.execute("SELECT coalesce(max(t), 0) FROM moves").fetchone()[0]
    last_mark = connection.execute("SELECT coalesce(max(t), 0) FROM marks").fetchone()[0]
    draft = saved.with_suffix(".part")
    try:
        draft.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(draft),))
        draft.chmod(0o600)
        os.link(draft, saved)  # a rename would replace a file of that name
    except (sqlite3.Error, OSError) as error:
        raise MosixError("history", f"The history could not be saved as {saved}: {error}; it goes on.") from None
    finally:
        draft.unlink(missing_ok=True)
    with transaction(connection):
        connection.execute("DELETE FROM samples WHERE t <= ?", (last,))
        connection.execute("DELETE FROM processes WHERE t <= ?", (last_processes,))
        connection.execute("DELETE FROM moves WHERE t <= ?", (last_move,))
        connection.execute("DELETE FROM marks WHERE t <= ?", (last_mark,))
