"""The bar chart of `mosmon` as text: which nodes fit, how high each bar is, what stands around it.

Owns the picture of openmosix.md 8.2 for any size of the screen. Pure: facts come in, lines come out, each made
of pieces with a style name that the screen turns into colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

MIN_WIDTH, MIN_HEIGHT = 20, 10
LEFT = 9
"""Columns for the title down the edge and the numbers of the scale."""
SCALE_STEPS = 4
LOG_OFFSET = 2.0
"""On the logarithmic scale 2.0 is 100 per cent of a standard processor."""
TITLES = {
    "load": "LOAD", "log": "LOG LOAD", "speed": "SPEED", "memory": "Memory (MB)",
    "raw": "Raw Used Memory (MB)", "util": "Utilizability",
}  # fmt: skip
MB = 1 << 20


class Piece(NamedTuple):
    """Text of one style: plain, bar, total, dead, dim, title."""

    text: str
    style: str = "plain"


Line = list[Piece]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown and how. `numbering`: a (automatic), w (wide), v (vertical), V (tight vertical)."""

    quantity: str = "load"
    with_dead: bool = False
    with_total: bool = False
    with_yardstick: bool = False
    numbering: str = "a"
    first: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """One node: the height of its bar and, for memory, up to where the total reaches. None: dead."""

    node: int
    value: float | None
    total: float | None = None
    cpus: int = 1


def bars(rows: Sequence[dict[str, Any]], view: View) -> list[Bar]:
    """Bars of the nodes that are shown, by number."""
    shown = sorted((row for row in rows if row["up"] or view.with_dead), key=lambda row: row["node"])
    return [_bar(row, view.quantity) for row in shown]


def _bar(row: dict[str, Any], quantity: str) -> Bar:
    if not row["up"]:
        return Bar(row["node"], None)
    node, cpus = row["node"], row["cpus"]
    match quantity:
        case "speed":
            return Bar(node, row["speed"], cpus=cpus)
        case "memory":
            return Bar(node, (row["tmem"] - row["mem"]) / MB, row["tmem"] / MB, cpus)
        case "raw":
            return Bar(node, (row["tmem"] - row["rmem"]) / MB, row["tmem"] / MB, cpus)
        case "util":
            return Bar(node, row["util"] / cpus, cpus=cpus)
        case "log":
            load = row["load"] / 100.0
            return Bar(node, max(0.0, math.log2(load) + LOG_OFFSET) if load > 0 else 0.0, cpus=cpus)
        case _:
            return Bar(node, row["load"] / 100.0, cpus=cpus)


def column_width(count: int, numbers: Sequence[int], view: View, width: int) -> tuple[int, bool]:
    """Columns per node, and whether the numbers stand upright below the bars."""
    digits = max((len(str(number)) for number in numbers), default=1)
    room = max(1, width - LEFT - 1)
    match view.numbering:
        case "w":
            return digits + 1, False
        case "v":
            return 3, True
        case "V":
            return 2, True
    if count * (digits + 1) <= room:
        return max(digits + 1, min(8, room // max(1, count))), False
    return (3, True) if count * 3 <= room else (2, True)


def per_screen(rows: Sequence[dict[str, Any]], view: View, width: int) -> int:
    """How many nodes fit on a screen of this width, at least 1."""
    shown = bars(rows, view)
    each, _ = column_width(len(shown), [bar.node for bar in shown], view, width)
    return max(1, (width - LEFT - 1) // each)


def scrolled(view: View, rows: Sequence[dict[str, Any]], width: int, by: int) -> View:
    """The view moved by so many nodes, kept within the nodes there are."""
    count = len(bars(rows, view))
    return replace(view, first=max(0, min(view.first + by, count - per_screen(rows, view, width))))


def chart(rows: Sequence[dict[str, Any]], view: View, width: int, height: int, yardstick: int = 0) -> list[Line]:
    """The whole screen, exactly `height` lines of at most `width` columns."""
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return ([[Piece("screen too small"[:width])]] + [[]] * height)[:height]
    if not rows:
        return ([[Piece("[openMosix Not Configured]"[:width], "title")]] + [[]] * height)[:height]
    all_bars = bars(rows, view)
    each, is_upright = column_width(len(all_bars), [bar.node for bar in all_bars], view, width)
    fits = max(1, (width - LEFT - 1) // each)
    first = max(0, min(view.first, len(all_bars) - fits))
    shown = all_bars[first : first + fits]
    digits = max((len(str(bar.node)) for bar in shown), default=1) if is_upright else 1
    rows_high = max(2, height - digits - 2)
    top = _top(all_bars)
    lines = [_bar_line(shown, view, each, rows_high, top, level) for level in range(rows_high, 0, -1)]
    lines.append([Piece(f"{0:>{LEFT - 2}} "), Piece("-" * min(width - LEFT, max(1, len(shown) * each)), "dim")])
    lines += _numbers(shown, each, is_upright, digits)
    lines.append(_footer(rows, view, yardstick, first, len(shown), len(all_bars), width))
    _write_title(lines, TITLES[view.quantity], rows_high)
    if view.quantity in ("load", "log") and all(not bar.value for bar in all_bars):
        lines[rows_high // 2].append(Piece(" IDLE", "dim"))
    return ([_cut(line, width) for line in lines] + [[]] * height)[:height]


def _top(all_bars: Sequence[Bar]) -> float:
    highest = max((max(bar.value or 0.0, bar.total or 0.0) for bar in all_bars), default=0.0)
    return highest if highest > 0 else 1.0


def _bar_line(shown: Sequence[Bar], view: View, each: int, rows_high: int, top: float, level: int) -> Line:
    marked = level in {round(rows_high * step / SCALE_STEPS) for step in range(1, SCALE_STEPS + 1)}
    scale = f"{top * level / rows_high:5.2f}" if top < 1000 else f"{top * level / rows_high:5.0f}"
    line: Line = [Piece(f"  {scale if marked else '':>{LEFT - 4}} "), Piece("|", "dim")]
    thick = max(1, min(4, each - 1))
    for bar in shown:
        line.append(Piece(" " * (each - thick)))
        line.append(_cell(bar, view, thick, rows_high, top, level))
    return line


def _cell(bar: Bar, view: View, thick: int, rows_high: int, top: float, level: int) -> Piece:
    if bar.value is None:
        word = "DEAD"
        position = len(word) - level
        return Piece((word[position] if 0 <= position < len(word) else " ").rjust(thick), "dead")
    # A value above zero is always at least one row high, so that a busy node is never shown as idle.
    high = max(round(bar.value / top * rows_high), 1 if bar.value > 0 else 0)
    if level <= high:
        if view.quantity == "speed" and level == high and bar.cpus > 1:
            return Piece(str(bar.cpus)[:thick].rjust(thick, "#"), "bar")
        return Piece("#" * thick, "bar")
    if bar.total is not None and level <= round(bar.total / top * rows_high):
        return Piece("+" * thick, "total")
    return Piece(" " * thick)


def _numbers(shown: Sequence[Bar], each: int, is_upright: bool, digits: int) -> list[Line]:
    if not is_upright:
        return [[Piece("Node #".ljust(LEFT), "dim"), *(Piece(str(bar.node).rjust(each)) for bar in shown)]]
    lines: list[Line] = []
    for place in range(digits):
        label = "Node #" if place == 0 else ""
        cells = [Piece(str(bar.node).rjust(digits)[place].rjust(each)) for bar in shown]
        lines.append([Piece(label.ljust(LEFT), "dim"), *cells])
    return lines


def _footer(
    rows: Sequence[dict[str, Any]], view: View, yardstick: int, first: int, count: int, of: int, width: int
) -> Line:
    up = [row for row in rows if row["up"]]
    parts = [f"[Total {len(up)}] [CPUs {sum(row['cpus'] for row in up)}]"]
    if len(up) < len(rows):
        parts.append(f"[Dead {len(rows) - len(up)}]")
    if view.with_total:
        parts.append(f"[Sum {_sum(up, view.quantity)}]")
    if view.with_yardstick:
        parts.append(f"[Yardstick {yardstick}]")
    if count < of:
        parts.append(f"[{first + 1}-{first + count} of {of}]")
    return [Piece(" ".join(parts)[:width], "title")]


def _sum(up: Sequence[dict[str, Any]], quantity: str) -> str:
    values = [_bar(row, "load" if quantity == "log" else quantity).value or 0.0 for row in up]
    if quantity == "util" and values:
        return f"{sum(values) / len(values):.0f}% on average"
    return f"{sum(values):.2f}" if quantity in ("load", "log") else f"{sum(values):.0f}"


def _write_title(lines: list[Line], title: str, rows_high: int) -> None:
    start = max(0, (rows_high - len(title)) // 2)
    for offset, letter in enumerate(title[:rows_high]):
        line = lines[start + offset]
        line[0] = Piece(letter, "title") if len(line[0].text) == 1 else line[0]
        line.insert(0, Piece(letter, "title"))
        line[1] = Piece(line[1].text[1:], line[1].style)


def _cut(line: Line, width: int) -> Line:
    cut: Line = []
    for piece in line:
        if width <= 0:
            break
        cut.append(Piece(piece.text[:width], piece.style))
        width -= len(piece.text)
    return cut
