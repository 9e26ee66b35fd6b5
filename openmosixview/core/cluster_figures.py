"""What the main table shows, computed from the rows of the daemon's `node.table`.

Owns the formulas behind "overall load", "used memory" and "load-balancing efficiency", which the original never
documented; the help page tells them to users. Pure; rows of strangers are read field by field and never trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LOAD_PER_PROCESS = 100
"""A load of 100 is one runnable process on one processor of the yardstick's speed."""
FLAG_BITS = (("stay", 4), ("lstay", 8), ("block", 16), ("quiet", 32), ("nomfs", 64))
"""Switches of a node in its status word (openMosix's own bits)."""
MAX_SPEED = 65535


def cluster_figures(table: Mapping[str, Any], states: Mapping[int, str] | None = None) -> dict[str, Any]:
    """The rows to show and the row of all nodes; `states` gives a word of membership per node number.

    Memory in bytes, loads and uses in per cent of the node (0-100), `load` in openMosix units.
    """
    yardstick = _number(table.get("yardstick"), 1) or 1
    raw_rows = table.get("nodes")
    plain = [row for row in raw_rows if isinstance(row, Mapping)] if isinstance(raw_rows, list) else []
    rows = [node_figures(row, yardstick, (states or {}).get(_number(row.get("node")), "")) for row in plain]
    rows.sort(key=lambda row: row["node"])
    return {
        "own_node": _number(table.get("node")),
        "yardstick": yardstick,
        "nodes": rows,
        "all": all_nodes(rows),
    }


def node_figures(row: Mapping[str, Any], yardstick: int, state: str = "") -> dict[str, Any]:
    """One node. What a silent node did not say is 0."""
    is_up = row.get("up") is True
    speed, cpus, load = (_number(row.get(name)) for name in ("speed", "cpus", "load"))
    total, free = _number(row.get("tmem")), _number(row.get("mem"))
    status = _number(row.get("status"))
    return {
        "node": _number(row.get("node")),
        "address": str(row.get("address", ""))[:64],
        "up": is_up,
        "state": state or ("alive" if is_up else "down"),
        "flags": [name for name, bit in FLAG_BITS if status & bit] if is_up else [],
        "speed": speed,
        "cpus": cpus,
        "load": load,
        "busy": round(runnable_per_cpu(load, speed, yardstick), 4) if is_up else 0.0,
        "load_percent": round(min(100.0, 100.0 * runnable_per_cpu(load, speed, yardstick))) if is_up else 0,
        "total_bytes": total,
        "used_bytes": max(0, total - free),
        "used_percent": round(100.0 * max(0, total - free) / total) if total else 0,
    }


def all_nodes(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row of the whole cluster, of the nodes that are up."""
    up = [row for row in rows if row["up"]]
    cpus = sum(row["cpus"] for row in up)
    total, used = sum(row["total_bytes"] for row in up), sum(row["used_bytes"] for row in up)
    busy = sum(row["cpus"] * min(1.0, row["busy"]) for row in up)
    return {
        "efficiency": efficiency([(row["cpus"], row["busy"]) for row in up]),
        "load_percent": round(100.0 * busy / cpus) if cpus else 0,
        "used_percent": round(100.0 * used / total) if total else 0,
        "total_bytes": total,
        "used_bytes": used,
        "cpus": cpus,
        "up": len(up),
        "nodes": len(rows),
    }


def efficiency(nodes: Sequence[tuple[int, float]]) -> int:
    """How well the work is spread, in per cent; nodes as (processors, runnable processes per processor).

    Work that waits on a node for a processor although the average of the cluster is lower counts as badly
    placed: 100 means that none does, 0 that all does. A cluster with nothing to do is balanced.
    """
    cpus = sum(count for count, _ in nodes)
    work = sum(count * max(0.0, busy) for count, busy in nodes)
    if cpus == 0 or work <= 0.0:
        return 100
    fair = max(1.0, work / cpus)
    misplaced = sum(count * max(0.0, busy - fair) for count, busy in nodes)
    return round(100.0 * (1.0 - misplaced / work))


def runnable_per_cpu(load: int, speed: int, yardstick: int) -> float:
    """Runnable processes per processor, back from a load in units of the yardstick."""
    return load * speed / (LOAD_PER_PROCESS * max(1, yardstick))


def _number(value: object, default: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return int(value) if 0 <= value < 2**63 else default
