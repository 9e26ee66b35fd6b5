"""What a process that is away really uses, put into the columns of ps.

Owns which columns those are and how ps writes them. At home ps sees only what stayed there: a few kilobytes and
no CPU time.
"""

from __future__ import annotations

import os
import re
import time

from moscmd.process_places import Place

_FIELD = re.compile(r"\S+")


def use_of(place: Place, pid: int) -> dict[str, str]:
    """Texts for the columns TIME, %CPU, RSS and %MEM, as far as they are known."""
    texts: dict[str, str] = {}
    if place.cpu_s is not None:
        hours, rest = divmod(int(place.cpu_s), 3600)
        texts["TIME"] = f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
        texts["%CPU"] = f"{100 * place.cpu_s / _age_s(pid):.1f}"
    if place.rss_bytes is not None:
        texts["RSS"] = str(place.rss_bytes // 1024)
        texts["%MEM"] = f"{100 * place.rss_bytes / (os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')):.1f}"
    return texts


def with_true_use(line: str, titles: list[str], use: dict[str, str]) -> str:
    """A line of ps with the fields of these titles replaced; columns stay where they are if there is room."""
    last = next((titles.index(name) for name in ("COMMAND", "CMD") if name in titles), len(titles))
    fields = list(_FIELD.finditer(line))[:last]
    for title, field in reversed(list(zip(titles, fields, strict=False))):
        text = use.get(title)
        if text is None:
            continue
        if title == "TIME" and field.group().count(":") == 1:
            hours, minutes, seconds = map(int, text.split(":"))
            text = f"{60 * hours + minutes}:{seconds:02d}"
        start = field.start()
        blank = start - len(line[:start].rstrip())
        start -= min(max(0, len(text) - len(field.group())), max(0, blank - 1))
        line = line[:start] + text.rjust(field.end() - start) + line[field.end() :]
    return line


def _age_s(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 1.0
    return max(1.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
