"""Reading a history: series for graphs, marks, moves, processes at a moment, exports.

Owns every question to a history. Answers are bounded: a long time comes in fewer, coarser points.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any

from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from openmosixview.collector.writing import STEPS_S

MAX_POINTS = 720
"""Points of one line in a graph; more cannot be seen."""
MAX_EVENTS = 2000
MAX_MOMENTS = 5000
MAX_BODY_BYTES = 4 << 20


def span(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """First and last second with samples, None for an empty history."""
    rows = [
        connection.execute("SELECT min(t), max(t) FROM samples WHERE step = ?", (step,)).fetchone() for step in STEPS_S
    ]
    found = [row for row in rows if row[0] is not None]
    return (min(row[0] for row in found), max(row[1] for row in found)) if found else None


def series(connection: sqlite3.Connection, start: int, end: int) -> dict[str, Any]:
    """Loads and memory of every node within [start, end], in per mille, in steps that give MAX_POINTS at most.

    {"step", "start", "nodes": {number: {"load": [[t, avg, min, max], …], "mem": […]}}}; load 1000 is one
    runnable process per processor.
    """
    step = STEPS_S[0]
    while (end - start) / step > MAX_POINTS:
        step *= 2
    nodes: dict[int, dict[str, list[list[int]]]] = {}
    rows = connection.execute(
        "SELECT t / ?1 * ?1 AS slot, node, round(avg(load)), min(coalesce(load_min, load)),"
        " max(coalesce(load_max, load)), round(avg(mem)), min(coalesce(mem_min, mem)), max(coalesce(mem_max, mem))"
        " FROM samples WHERE step IN (10, 120, 900) AND t BETWEEN ?2 AND ?3 GROUP BY slot, node ORDER BY slot",
        (step, start, end),
    )
    for t, node, load, load_min, load_max, mem, mem_min, mem_max in rows:
        lines = nodes.setdefault(node, {"load": [], "mem": []})
        lines["load"].append([t, int(load), load_min, load_max])
        lines["mem"].append([t, int(mem), mem_min, mem_max])
    return {"step": step, "start": start, "end": end, "nodes": nodes}


def node_facts(connection: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    """The last known facts of every node in the history."""
    rows = connection.execute("SELECT node, max(t), address, cpus, speed, total_bytes FROM nodes GROUP BY node")
    names = ("address", "cpus", "speed", "total_bytes")
    return {row[0]: dict(zip(names, row[2:], strict=True)) for row in rows}


def events(connection: sqlite3.Connection, start: int, end: int) -> dict[str, Any]:
    """Checkpoints and migrations within [start, end]."""
    marks = connection.execute("SELECT t, text FROM marks WHERE t BETWEEN ? AND ? ORDER BY t", (start, end))
    moves = connection.execute(
        "SELECT t, pid, from_node, to_node, command FROM moves WHERE t BETWEEN ? AND ? ORDER BY t LIMIT ?",
        (start, end, MAX_EVENTS),
    )
    return {
        "marks": [{"t": t, "text": text} for t, text in marks],
        "moves": [{"t": t, "pid": pid, "from": a, "to": b, "command": command} for t, pid, a, b, command in moves],
    }


def moments(connection: sqlite3.Connection) -> list[int]:
    """The moments whose processes are known, oldest first, the newest MAX_MOMENTS."""
    rows = connection.execute("SELECT t FROM processes ORDER BY t DESC LIMIT ?", (MAX_MOMENTS,)).fetchall()
    return [row[0] for row in reversed(rows)]


def processes_at(connection: sqlite3.Connection, t: int) -> dict[str, Any]:
    """The processes at the last known moment not after t. Raises MosixError `no-sample`."""
    row = connection.execute("SELECT t, body FROM processes WHERE t <= ? ORDER BY t DESC LIMIT 1", (t,)).fetchone()
    if row is None:
        raise MosixError("no-sample", "No processes were recorded at that time.", EXIT_NOT_FOUND)
    unpacked = zlib.decompressobj().decompress(row[1], MAX_BODY_BYTES)
    try:
        rows = json.loads(unpacked)
    except ValueError:
        raise MosixError("no-sample", "What was recorded at that time is damaged.", EXIT_NOT_FOUND) from None
    return {"t": row[0], "rows": rows if isinstance(rows, list) else []}


def as_csv(connection: sqlite3.Connection, start: int, end: int) -> Iterator[str]:
    """All samples within [start, end] as lines of CSV with a header."""
    names = ("time_s", "step_s", "node", "load_percent", "load_min", "load_max", "mem_percent", "mem_min", "mem_max")
    yield _csv_line(names)
    for row in _exported(connection, start, end):
        yield _csv_line(row)


def as_json(connection: sqlite3.Connection, start: int, end: int) -> dict[str, Any]:
    """The same as one object, with nodes, checkpoints and migrations."""
    names = ("t", "step_s", "node", "load", "load_min", "load_max", "mem", "mem_min", "mem_max")
    samples = [dict(zip(names, row, strict=True)) for row in _exported(connection, start, end)]
    facts = node_facts(connection)
    return {"version": 1, "kind": "history", "nodes": facts, "samples": samples} | events(connection, start, end)


def _exported(connection: sqlite3.Connection, start: int, end: int) -> Iterator[tuple[Any, ...]]:
    rows = connection.execute(
        "SELECT t, step, node, load, coalesce(load_min, load), coalesce(load_max, load), mem, coalesce(mem_min, mem),"
        " coalesce(mem_max, mem) FROM samples WHERE step IN (10, 120, 900) AND t BETWEEN ? AND ? ORDER BY t, node",
        (start, end),
    )
    for t, step, node, *values in rows:
        yield (t, step, node, *(value / 10 for value in values))


def _csv_line(values: tuple[Any, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
