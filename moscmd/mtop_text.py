"""What `mtop` shows as text: summary, header, rows.

Owns the columns, which are top's with the node (N#) between user and priority. Pure text; colours and keys are
the screen's matter.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from moscmd.command import printable
from moscmd.process_table import SORTS, Process

HEADER = (
    f"{'PID':>7} {'USER':<9}{'N#':>5} {'PRI':>4}{'NI':>4} {'SIZE':>6} {'RSS':>6} S L "
    f"{'%CPU':>6}{'%MEM':>5} {'TIME+':>9} COMMAND"
)
MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Choice:
    """Which processes are shown, and in which order."""

    sort: str = "cpu"
    is_reversed: bool = False
    user: str = ""
    with_idle: bool = True
    pattern: str = ""


def chosen(rows: Sequence[Process], choice: Choice) -> list[Process]:
    """The processes to show, in order."""
    kept = [
        row
        for row in rows
        if (not choice.user or row.user == choice.user)
        and (choice.with_idle or row.cpu_percent >= 0.05)
        and (not choice.pattern or choice.pattern.lower() in row.command.lower())
    ]
    kept.sort(key=SORTS[choice.sort], reverse=choice.is_reversed)  # type: ignore[arg-type]
    return kept


def summary(rows: Sequence[Process], own_node: str) -> list[str]:
    """Three lines above the table."""
    states = {state: sum(1 for row in rows if row.state == state) for state in "RSTZ"}
    away = sum(1 for row in rows if row.node > 0)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    free, total = _memory()
    return [
        f"mtop - {own_node}, load average {load}",
        f"Tasks: {len(rows)} total, {states['R']} running, {states['S']} sleeping, {states['T']} stopped, "
        f"{states['Z']} zombie; {away} away",
        f"Memory: {total // MB} MB total, {(total - free) // MB} MB used, {free // MB} MB available",
    ]


def row_text(row: Process) -> str:
    """One row of the table."""
    minutes, seconds = divmod(row.time_s, 60)
    return (
        f"{row.pid:>7} {row.user[:9]:<9}{row.node:>5} {row.priority:>4}{row.nice:>4} {_size(row.vsize_bytes):>6} "
        f"{_size(row.rss_bytes):>6} {row.state} {'L' if row.lock else '-'} {row.cpu_percent:>6.1f}"
        f"{row.mem_percent:>5.1f} {f'{minutes:.0f}:{seconds:05.2f}':>9} {printable(row.command)}"
    )


def _size(amount: int) -> str:
    if amount < 10 * MB:
        return f"{amount // 1024}k"
    return f"{amount // MB}m" if amount < 10240 * MB else f"{amount // (1024 * MB)}g"


def _memory() -> tuple[int, int]:
    values = {"MemTotal": 0, "MemAvailable": 0}
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in values:
                    values[name] = int(rest.split()[0]) * 1024
    except OSError:
        pass
    return values["MemAvailable"], values["MemTotal"]
