"""The cluster as Prometheus metrics: base units, one number per node, no PIDs.

Owns names and the text format. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PER_NODE = (
    ("openmosix_node_up", "Whether the node answers.", lambda row: int(row["up"])),
    ("openmosix_node_load_ratio", "Runnable processes per processor.", lambda row: row["busy"]),
    ("openmosix_node_speed", "Speed of one processor; 15000 is openMosix's standard.", lambda row: row["speed"]),
    ("openmosix_node_processors", "Processors of the node.", lambda row: row["cpus"]),
    ("openmosix_node_memory_bytes", "Physical memory.", lambda row: row["total_bytes"]),
    ("openmosix_node_memory_used_bytes", "Memory that cannot be freed.", lambda row: row["used_bytes"]),
)
_SWITCH = "openmosix_node_switch"


def metrics_text(cluster: Mapping[str, Any], processes_away: int | None, guests: int | None) -> str:
    """The exposition text of a state as Live gives it; None counts are left out."""
    is_up = cluster["state"] == "ok"
    lines = _gauge("openmosix_daemon_up", "Whether the daemon of this machine answers.", [("", int(is_up))])
    if not is_up:
        return "".join(lines)
    for name, help_text, value in _PER_NODE:
        rows = [row for row in cluster["nodes"] if row["up"] or name == "openmosix_node_up"]
        lines += _gauge(name, help_text, [(_labels(row), value(row)) for row in rows])
    switches = [
        (_labels(row, flag), int(flag in row["flags"]))
        for row in cluster["nodes"]
        if row["up"]
        for flag in ("stay", "lstay", "block", "quiet", "nomfs")
    ]
    lines += _gauge(_SWITCH, "Switches of the node.", switches)
    efficiency = cluster["all"]["efficiency"] / 100
    lines += _gauge("openmosix_balance_ratio", "Load-balancing efficiency, 1 is best.", [("", efficiency)])
    if processes_away is not None:
        lines += _gauge("openmosix_processes_away", "Processes of this node elsewhere.", [("", processes_away)])
    if guests is not None:
        lines += _gauge("openmosix_guests", "Guests on this node.", [("", guests)])
    return "".join(lines)


def _gauge(name: str, help_text: str, samples: Sequence[tuple[str, float]]) -> list[str]:
    head = [f"# HELP {name} {help_text}\n", f"# TYPE {name} gauge\n"]
    return head + [f"{name}{labels} {value}\n" for labels, value in samples]


def _labels(row: Mapping[str, Any], switch: str = "") -> str:
    address = "".join(c for c in row["address"] if c.isalnum() or c in ".:-")
    extra = f',switch="{switch}"' if switch else ""
    return f'{{node="{row["node"]}",address="{address}"{extra}}}'
