"""The command `mosmon`: a live bar chart of the nodes.

Owns the terminal: keys, colours, resizing, one request a second. What the chart looks like stands in
mosmon_chart. Curses is imported only when the screen is used.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moscmd.command import CommandParser, print_json, run
from moscmd.mosmon_chart import View, chart, per_screen, scrolled
from omprotocol.control import request
from omprotocol.errors import EXIT_NO_DAEMON, EXIT_USAGE, MosixError

if TYPE_CHECKING:
    import curses

PERIOD_S = 1.0
ANSWER_S = 10.0
HELP_TEXT = """mosmon: keys

  l / L   load / logarithmic load       d / D    show / hide dead nodes
  s       speed, with number of CPUs    t        total of operational nodes
  m       memory used of total          y        the yardstick in use
  r       raw used memory of total      w v V a  numbering: wide, vertical,
  u       utilizability (per cent)               tight, as fits
  Left, Right, -, +   one node          p, n     one screen left, right
  h, ?    this help                     Enter    redraw
  q       quit                          Insert   read everything anew

A load of 1.00 is one process on one standard processor.
Esc leaves this help; any other key goes on."""
QUANTITY_KEYS = {"s": "speed", "m": "memory", "r": "raw", "u": "util", "l": "load"}
# Distinguishable without telling red from green: blue bars, yellow totals, magenta for the dead.
COLOURS = {"bar": 4, "total": 3, "dead": 5, "dim": -1, "title": 6, "plain": -1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run("mosmon", _mosmon, arguments)


def parser() -> CommandParser:
    """The options of mosmon."""
    made = CommandParser(
        "mosmon",
        "Show the load of the nodes as bars; h explains the keys, q quits.",
        """mosmon                 loads, live
           mosmon -m -d           memory, with dead nodes
           mosmon --once          the chart once, as text
           mosmon --once --json   the facts behind it""",
    )
    what = made.add_argument_group("what to show")
    what.add_argument("-l", dest="quantity", action="store_const", const="load", help="load (the default)")
    what.add_argument("-L", dest="quantity", action="store_const", const="log", help="load, logarithmic")
    what.add_argument("-s", dest="quantity", action="store_const", const="speed", help="speed")
    what.add_argument("-m", dest="quantity", action="store_const", const="memory", help="used of total memory")
    what.add_argument("-r", dest="quantity", action="store_const", const="raw", help="raw used of total memory")
    what.add_argument("-u", dest="quantity", action="store_const", const="util", help="utilizability")
    what.add_argument("-d", dest="dead", action="store_true", help="dead nodes, too")
    what.add_argument("-t", dest="total", action="store_true", help="the total of all nodes")
    how = made.add_argument_group("how to show it")
    how.add_argument("-w", dest="numbering", action="store_const", const="w", help="node numbers horizontally")
    how.add_argument("-v", dest="numbering", action="store_const", const="v", help="node numbers vertically")
    how.add_argument("-V", dest="numbering", action="store_const", const="V", help="vertically and tight")
    how.add_argument("-a", dest="numbering", action="store_const", const="a", help="as fits (the default)")
    how.add_argument("--first", metavar="N", type=int, default=0, help="begin with node N (also +N)")
    how.add_argument("--once", action="store_true", help="print the chart once and exit; no screen is used")
    how.add_argument("-H", action="help", help="the same as --help")
    return made


def _mosmon(arguments: Sequence[str]) -> int:
    words = [f"--first={word[1:]}" if word[:1] == "+" and word[1:].isdecimal() else word for word in arguments]
    options = parser().parse_args(words)
    view = View(options.quantity or "load", options.dead, options.total, numbering=options.numbering or "a")
    table = request("node.table", timeout_s=ANSWER_S)
    if options.first:
        before = [row for row in table["nodes"] if (row["up"] or view.with_dead) and row["node"] < options.first]
        view = replace(view, first=len(before))
    if options.json:
        print_json("nodes", table)
        return 0
    if options.once:
        width, height = _size()
        lines = chart(table["nodes"], view, width, height - 1, table["yardstick"])
        print("\n".join("".join(piece.text for piece in line).rstrip() for line in lines))
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MosixError("no-terminal", "this needs a terminal; use --once for text or --once --json", EXIT_USAGE)
    import curses

    os.environ.setdefault("ESCDELAY", "25")
    try:
        return curses.wrapper(lambda screen: _Screen(screen, view, table).loop())
    except curses.error as error:
        raise MosixError("terminal", f"this terminal cannot show it: {error}", EXIT_USAGE) from None


def _size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
        return size.columns, size.lines
    except (OSError, ValueError):
        return 80, 24


class _Screen:
    """The live screen."""

    def __init__(self, screen: curses.window, view: View, table: dict[str, Any]) -> None:
        import curses

        self._curses = curses
        self._screen = screen
        self._view = view
        self._table = table
        self._message = ""
        self._attributes = self._styles()
        curses.curs_set(0)
        screen.keypad(True)

    def loop(self) -> int:
        """Draw, wait for a key or the next second, until q."""
        next_at = time.monotonic() + PERIOD_S
        self._draw()
        while True:
            self._screen.timeout(max(0, round((next_at - time.monotonic()) * 1000)))
            try:
                key = self._screen.get_wch()
            except self._curses.error:
                self._refresh()
                next_at = time.monotonic() + PERIOD_S
                self._draw()
                continue
            if not self._handle(key):
                return 0
            self._draw()

    def _refresh(self) -> None:
        try:
            self._table = request("node.table", timeout_s=ANSWER_S)
            self._message = ""
        except MosixError as error:
            self._message = error.message if error.exit_status != EXIT_NO_DAEMON else "omdiscd does not run: waiting"

    def _handle(self, key: int | str) -> bool:
        view, rows = self._view, self._table["nodes"]
        width = self._screen.getmaxyx()[1]
        page = per_screen(rows, view, width)
        curses = self._curses
        moves = {curses.KEY_LEFT: -1, "-": -1, curses.KEY_RIGHT: 1, "+": 1, "p": -page, "n": page}
        if key in ("q", "Q"):
            return False
        if key in moves:
            view = scrolled(view, rows, width, moves[key])
        elif key in QUANTITY_KEYS:
            view = replace(view, quantity=QUANTITY_KEYS[str(key)])
        elif key == "L":
            view = replace(view, quantity="load" if view.quantity == "log" else "log")
        elif key in ("d", "D"):
            view = replace(view, with_dead=key == "d", first=0)
        elif key == "t":
            view = replace(view, with_total=not view.with_total)
        elif key == "y":
            view = replace(view, with_yardstick=not view.with_yardstick)
        elif key in ("w", "v", "V", "a"):
            view = replace(view, numbering=str(key))
        elif key in ("h", "H", "?"):
            self._help()
        elif key == curses.KEY_IC:
            self._refresh()
        elif key in ("\n", "\r", "\x0c", curses.KEY_ENTER, curses.KEY_RESIZE):
            self._screen.clear()
        self._view = view
        return True

    def _draw(self) -> None:
        height, width = self._screen.getmaxyx()
        self._screen.erase()
        lines = chart(self._table["nodes"], self._view, width, height, self._table["yardstick"])
        for row, line in enumerate(lines):
            column = 0
            for piece in line:
                self._put(row, column, piece.text, self._attributes[piece.style])
                column += len(piece.text)
        if self._message:
            self._put(0, 0, self._message[: width - 1], self._curses.A_REVERSE)
        self._screen.refresh()

    def _put(self, row: int, column: int, text: str, attribute: int) -> None:
        try:
            self._screen.addstr(row, column, text, attribute)
        except self._curses.error:
            pass  # the last cell of the screen, or a resize between measuring and drawing

    def _help(self) -> None:
        self._screen.erase()
        for row, line in enumerate(HELP_TEXT.splitlines()):
            self._put(row, 0, line, 0)
        self._screen.refresh()
        self._screen.timeout(-1)
        try:
            self._screen.get_wch()
        except self._curses.error:
            return

    def _styles(self) -> dict[str, int]:
        curses = self._curses
        plain = {"bar": curses.A_BOLD, "title": curses.A_BOLD, "dead": curses.A_REVERSE, "dim": curses.A_DIM}
        styles = {name: plain.get(name, 0) for name in COLOURS}
        if os.environ.get("NO_COLOR") or not curses.has_colors():
            return styles
        curses.start_color()
        curses.use_default_colors()
        for number, (name, colour) in enumerate(COLOURS.items(), 1):
            if colour >= 0:
                curses.init_pair(number, colour, -1)
                styles[name] = curses.color_pair(number) | (curses.A_BOLD if name in ("bar", "dead") else 0)
        return styles


if __name__ == "__main__":
    sys.exit(main())
