"""The command `mtop`: top with a column that says on which node a process runs, and keys to move it.

Owns the screen and the keys. Orders go to the daemon or the kernel, which judge whether they are permitted.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from moscmd.command import CommandParser, print_json, run
from moscmd.mtop_text import HEADER, Choice, chosen, row_text, summary
from moscmd.process_places import ask_places
from moscmd.process_table import SORTS, Process, ProcessTable
from omprotocol.control import request
from omprotocol.errors import EXIT_USAGE, MosixError

if TYPE_CHECKING:
    import curses

MIGRATION_S = 600.0
HELP_TEXT = """mtop: keys

  space, Enter  refresh now           P M T  sort by CPU, memory, time
  q             quit                  N #    sort by node, by migrations
  h, ?          this help             p U    sort by PID, by user;  R  reverse
  g             migrate a process     u      only one user (empty: all)
  k             send a signal         /      only commands with this text
  r             renice                i      show idle processes or not
  L             lock or unlock        c      whole command lines or not
  s             seconds per refresh   n      number of rows (0: as fits)
  Up, Down, PgUp, PgDn, Home          scroll

N#: the node where it runs, 0 for here, -1 when openMosix is off. L: locked.
Any key goes on."""
SORT_KEYS = {"P": "cpu", "M": "mem", "T": "time", "N": "node", "#": "nmigs", "p": "pid", "U": "user"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run("mtop", _mtop, arguments)


def parser() -> CommandParser:
    """The options of mtop."""
    made = CommandParser(
        "mtop",
        "Show processes like top, and on which node each runs; h explains the keys.",
        """mtop                    live
           mtop -u alice -o node   alice's processes, those away first
           mtop --once             one look, as text""",
    )
    made.add_argument("-d", "--delay", metavar="S", type=float, default=3.0, help="seconds between refreshes")
    made.add_argument("-n", "--iterations", metavar="N", type=int, default=0, help="stop after N refreshes")
    made.add_argument("-b", "--batch", action="store_true", help="text without a screen, once per refresh")
    made.add_argument("--once", action="store_true", help="one look, as text")
    made.add_argument("-u", "--user", metavar="NAME", default="", help="only processes of one user")
    made.add_argument("-o", "--sort", choices=sorted(SORTS), default="cpu", help="order of the rows")
    made.add_argument("-i", "--idle", action="store_true", help="leave out processes that use no CPU")
    made.add_argument("-c", "--command-line", action="store_true", help="show whole command lines")
    return made


def _mtop(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    if not 0.1 <= options.delay <= 3600 or options.iterations < 0:
        raise MosixError("usage", "-d takes 0.1 to 3600 seconds, -n a number from 0", EXIT_USAGE)
    choice = Choice(options.sort, user=options.user, with_idle=not options.idle)
    table = ProcessTable()
    if options.json:
        rows = chosen(table.look(ask_places(), options.command_line), choice)
        print_json("processes", [{name: getattr(row, name) for name in Process.__slots__} for row in rows])
        return 0
    if options.once or options.batch:
        return _batch(table, choice, options.command_line, 1 if options.once else options.iterations, options.delay)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MosixError("no-terminal", "this needs a terminal; use --once for text or --json", EXIT_USAGE)
    import curses

    os.environ.setdefault("ESCDELAY", "25")
    try:
        return curses.wrapper(
            lambda screen: _Screen(screen, table, choice, options.delay, options.command_line).loop(options.iterations)
        )
    except curses.error as error:
        raise MosixError("terminal", f"this terminal cannot show it: {error}", EXIT_USAGE) from None


def _batch(table: ProcessTable, choice: Choice, with_arguments: bool, rounds: int, delay_s: float) -> int:
    done = 0
    while True:
        places = ask_places()
        rows = table.look(places, with_arguments)
        print("\n".join([*summary(rows, places.failure or "openMosix is on"), "", HEADER]))
        for row in chosen(rows, choice):
            print(row_text(row))
        sys.stdout.flush()
        done += 1
        if rounds and done >= rounds:
            return 0
        time.sleep(delay_s)
        print()


class _Screen:
    """The live screen."""

    def __init__(
        self, screen: curses.window, table: ProcessTable, choice: Choice, delay_s: float, with_arguments: bool
    ) -> None:
        import curses

        self._curses = curses
        self._screen = screen
        self._table = table
        self._choice = choice
        self._delay_s = delay_s
        self._with_arguments = with_arguments
        self._first = 0
        self._limit = 0
        self._message = ""
        self._rows: list[Process] = []
        self._heading: list[str] = []
        self._has_colours = not os.environ.get("NO_COLOR") and curses.has_colors()
        if self._has_colours:
            curses.use_default_colors()
            curses.init_pair(1, curses.COLOR_CYAN, -1)
            curses.init_pair(2, curses.COLOR_YELLOW, -1)
        curses.curs_set(0)

    def loop(self, rounds: int) -> int:
        """Refresh and obey keys until q, or for so many refreshes."""
        done = 0
        while True:
            self._look()
            done += 1
            next_at = time.monotonic() + self._delay_s
            while True:
                self._draw()
                self._screen.timeout(max(0, round((next_at - time.monotonic()) * 1000)))
                try:
                    key = self._screen.get_wch()
                except self._curses.error:
                    break
                if key in ("q", "Q"):
                    return 0
                if key in (" ", "\n"):
                    break
                self._handle(key)
            if rounds and done >= rounds:
                return 0

    def _look(self) -> None:
        places = ask_places()
        self._rows = self._table.look(places, self._with_arguments)
        self._heading = summary(self._rows, places.failure or "openMosix is on")

    def _draw(self) -> None:
        height, width = self._screen.getmaxyx()
        self._screen.erase()
        for number, line in enumerate(self._heading):
            self._put(number, line, 0, width)
        self._put(3, self._message, self._curses.A_BOLD, width)
        self._put(4, HEADER.ljust(width), self._curses.A_REVERSE, width)
        rows = chosen(self._rows, self._choice)
        fits = max(0, height - 5)
        fits = min(fits, self._limit) if self._limit else fits
        self._first = max(0, min(self._first, len(rows) - fits))
        for number, row in enumerate(rows[self._first : self._first + fits]):
            self._put(5 + number, row_text(row), self._style(row), width)
        self._screen.refresh()

    def _style(self, row: Process) -> int:
        if row.node > 0:
            return self._curses.color_pair(1) if self._has_colours else self._curses.A_BOLD
        if row.state == "R":
            return self._curses.color_pair(2) if self._has_colours else 0
        return 0

    def _put(self, line: int, text: str, attribute: int, width: int) -> None:
        try:
            self._screen.addnstr(line, 0, text, max(1, width), attribute)
        except self._curses.error:
            pass  # the last cell of the screen, or a screen that became smaller meanwhile

    def _handle(self, key: int | str) -> None:
        curses, choice = self._curses, self._choice
        page = max(1, self._screen.getmaxyx()[0] - 6)
        scroll = {curses.KEY_UP: -1, curses.KEY_DOWN: 1, curses.KEY_PPAGE: -page, curses.KEY_NPAGE: page}
        self._message = ""
        if isinstance(key, int):
            self._first = 0 if key == curses.KEY_HOME else max(0, self._first + scroll.get(key, 0))
        elif key in SORT_KEYS:
            self._choice = replace(choice, sort=SORT_KEYS[key], is_reversed=False)
        elif key == "R":
            self._choice = replace(choice, is_reversed=not choice.is_reversed)
        elif key == "i":
            self._choice = replace(choice, with_idle=not choice.with_idle)
        elif key == "u":
            self._choice = replace(choice, user=self._ask("Only the user (empty: all): "))
        elif key == "/":
            self._choice = replace(choice, pattern=self._ask("Only commands with: "))
        elif key == "c":
            self._with_arguments = not self._with_arguments
            self._look()
        elif key in ("h", "?"):
            self._help()
        elif key in ("g", "k", "r", "L", "s", "n"):
            try:
                self._message = self._order(key)
            except MosixError as error:
                self._message = error.message
            except (OSError, ValueError, KeyError) as error:
                self._message = getattr(error, "strerror", None) or f"not understood: {error}"

    def _order(self, key: str) -> str:
        if key == "s":
            self._delay_s = min(3600.0, max(0.1, float(self._ask("Seconds per refresh: "))))
            return ""
        if key == "n":
            self._limit = max(0, int(self._ask("Number of rows (0: as many as fit): ")))
            return ""
        prompt = {
            "g": "PID to migrate: ",
            "k": "PID to signal: ",
            "r": "PID to renice: ",
            "L": "PID to lock or unlock: ",
        }
        answer = self._ask(prompt[key])
        if not answer:
            return ""
        if not answer.isdecimal():
            return f"not a PID: {answer}"
        pid = int(answer)
        if key == "g":
            return self._migrate(pid)
        if key == "k":
            name = self._ask(f"Signal for {pid} (empty: 15): ") or "15"
            number = int(name) if name.isdecimal() else signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"].value
            os.kill(pid, number)
        elif key == "r":
            os.setpriority(os.PRIO_PROCESS, pid, int(self._ask(f"Nice value of {pid}: ")))
        else:
            now = request("process.get", {"pid": pid})["lock"]
            request("process.set", {"pid": pid, "set": {"lock": int(not now)}})
        self._look()
        return ""

    def _migrate(self, pid: int) -> str:
        text = self._ask(f"Move PID {pid} to the node (home, balance): ").lower()
        if not text:
            return ""
        to: int | str = int(text) if text.isdecimal() else text
        if to not in ("home", "balance") and not isinstance(to, int):
            return f"not a node: {text}"
        self._put(3, f"moving {pid} ...", self._curses.A_BOLD, self._screen.getmaxyx()[1])
        self._screen.refresh()
        request("migrate", {"pid": pid, "to": "home" if to == 0 else to}, timeout_s=MIGRATION_S)
        self._look()
        return f"process {pid} has moved"

    def _ask(self, prompt: str) -> str:
        curses = self._curses
        self._screen.move(3, 0)
        self._screen.clrtoeol()
        self._put(3, prompt, curses.A_BOLD, self._screen.getmaxyx()[1])
        self._screen.timeout(-1)
        curses.echo()
        curses.curs_set(1)
        try:
            return self._screen.getstr(3, min(len(prompt), self._screen.getmaxyx()[1] - 2), 40).decode().strip()
        except UnicodeDecodeError:
            return ""
        finally:
            curses.noecho()
            curses.curs_set(0)

    def _help(self) -> None:
        self._screen.erase()
        width = self._screen.getmaxyx()[1]
        for number, line in enumerate(HELP_TEXT.splitlines()):
            self._put(number, line, 0, width)
        self._screen.refresh()
        self._screen.timeout(-1)
        try:
            self._screen.get_wch()
        except self._curses.error:
            return


if __name__ == "__main__":
    sys.exit(main())
