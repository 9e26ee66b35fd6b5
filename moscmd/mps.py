"""The command `mps`: the system's own ps with one more column, the node on which a process runs.

Owns the column and the two formats of openMosix. Everything else is ps: options are passed through as they are,
so whatever the installed ps can do, mps can do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from moscmd.command import VERSION, print_json, run
from moscmd.process_places import Place, Places, ask_places
from moscmd.process_use import use_of, with_true_use
from omprotocol.errors import EXIT_USAGE, MosixError

EXIT_NO_PS = 127
COLUMN = "N#"
COLUMN_WIDTH = 5
TTY_WIDTH = 8
"""Width of ps's TTY column, which is left-aligned."""
OMINFO = ("user", "comm", "pid")
OMINFOL = ("user", "comm", "pid", "ppid", "pri", "ni", "pcpu", "pmem", "size", "rss", "stat", "start_time", "time")
SORT_KEYS = ("node", "where", "nmigs", "lock", "cantmove", "cant")
HELP = """Show processes like ps, and on which node each runs (column N#; 0: here, -1: openMosix is off).

Examples:
  mps aux               all processes
  mps -ef --forest      all of them as a tree
  mps --ominfo -e       node, migrations, lock, and why a process cannot move
  mps --ominfo -e --sort=node

usage: mps [ps options] [--ominfo|--ominfol] [--sort=node|nmigs|lock|cantmove] [--json]

options of mps:
  --ominfo    USER COMMAND PID NODE NMIGS LOCK CANTMOVE
  --ominfol   the same with PPID, priority, CPU, memory and times
  --sort=KEY  with --ominfo and --ominfol also: node (where), nmigs, lock, cantmove (cant); -KEY reverses
  --json      facts of --ominfol as one JSON object
  --version   show the version
  --help      show this help; for ps's own options see ps(1)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, which is ps's own unless mps itself fails."""
    return run("mps", _mps, arguments)


def _mps(arguments: Sequence[str]) -> int:
    if "--help" in arguments:
        print(HELP, end="")
        return 0
    if "--version" in arguments:
        print(f"mps (openMosix) {VERSION}")
        return 0
    own = [word for word in arguments if word in ("--ominfo", "--ominfol", "--json")]
    rest = [word for word in arguments if word not in own]
    if own:
        return _ominfo(rest, "--ominfo" not in own, "--json" in own)
    listed = _ps(rest)
    sys.stdout.write(with_column(listed.stdout, ask_places()))
    return listed.returncode


def with_column(text: str, places: Places) -> str:
    """The output of ps with the node of each process behind its TTY, or its PID where there is no TTY."""
    lines = text.splitlines()
    header = lines[0].split() if lines else []
    if "PID" not in header:
        return text
    pid_field = header.index("PID")
    after = header.index("TTY") if "TTY" in header else pid_field
    column = _end_of_column(lines[0], after)
    out = [_insert(lines[0], column, after, COLUMN)]
    for line in lines[1:]:
        fields = line.split(None, max(pid_field, after) + 1)
        pid = fields[pid_field] if len(fields) > pid_field else ""
        if not pid.isdecimal():
            out.append(_insert(line, column, after, ""))
            continue
        shown = _insert(line, column, after, str(places.node(int(pid))))
        place = places.of(int(pid))
        if place.cpu_s is not None or place.rss_bytes is not None:
            shown = with_true_use(shown, out[0].split(), use_of(place, int(pid)))
        out.append(shown)
    return "\n".join(out) + "\n"


def _end_of_column(header: str, index: int) -> int:
    words = header.split()
    start = 0
    for position, word in enumerate(words):
        start = header.index(word, start)
        if position == index:
            break
        start += len(word)
    return start + (TTY_WIDTH if words[index] == "TTY" else len(words[index]))


def _insert(line: str, column: int, index: int, text: str) -> str:
    # A field wider than its column pushes the rest of its line to the right: then count fields.
    is_aligned = line[column : column + 1] == " " and len(line[:column].split()) == index + 1
    if not is_aligned:
        column = 0
        for _ in range(index + 1):
            while column < len(line) and line[column] == " ":
                column += 1
            while column < len(line) and line[column] != " ":
                column += 1
    return f"{line[:column]} {text:>{COLUMN_WIDTH}}{line[column:]}"


def _ominfo(arguments: list[str], is_long: bool, as_json: bool) -> int:
    sorts = [word.partition("=")[2] for word in arguments if word.startswith("--sort=")]
    own_sort = next((key for key in sorts if key.lstrip("+-") in SORT_KEYS), None)
    rest = [word for word in arguments if not (own_sort and word == f"--sort={own_sort}")]
    names = OMINFOL if is_long else OMINFO
    formats = [
        part for name in names for part in ("-o", f"{name}:{_WIDTHS.get(name, 8)}=" if name in _WIDTHS else f"{name}=")
    ]
    listed = _ps([*rest, *formats])
    places = ask_places(with_cantmove=True)
    rows = [_row(line, names, places) for line in listed.stdout.splitlines() if line.strip()]
    if own_sort:
        rows.sort(key=lambda row: _sort_value(row, own_sort.lstrip("+-")), reverse=own_sort.startswith("-"))
    if as_json:
        print_json("processes", rows)
    else:
        print(_table(rows, names))
    return listed.returncode


_WIDTHS = {"user": 32, "comm": 32}


def _row(line: str, names: tuple[str, ...], places: Places) -> dict[str, Any]:
    row: dict[str, Any] = {}
    position = 0
    for name in names:
        width = _WIDTHS.get(name)
        if width is not None:
            row[name], position = line[position : position + width].strip(), position + width
            continue
        while position < len(line) and line[position] == " ":
            position += 1
        end = line.find(" ", position)
        end = len(line) if end < 0 else end
        row[name], position = line[position:end], end + 1
    place: Place = places.of(int(row["pid"])) if row["pid"].isdecimal() else Place()
    node = places.node(int(row["pid"])) if row["pid"].isdecimal() else 0
    return row | {
        "node": node,
        "nmigs": place.nmigs,
        "lock": int(place.lock),
        "cantmove": "unknown" if places.failure else place.movability,
    }


def _sort_value(row: dict[str, Any], key: str) -> Any:
    return row[{"where": "node", "cant": "cantmove"}.get(key, key)]


def _table(rows: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    titles = {"start_time": "START", "comm": "COMMAND", "pcpu": "%CPU", "pmem": "%MEM"}
    columns = [*names, "node", "nmigs", "lock", "cantmove"]
    shown = [[titles.get(name, name.upper()) for name in columns]]
    for row in rows:
        cells = [str(row[name]) for name in columns]
        cells[columns.index("node")] = "HOME" if row["node"] == 0 else str(row["node"])
        shown.append(cells)
    widths = [max(len(line[index]) for line in shown) for index in range(len(columns))]
    left = {"user", "comm", "stat", "cantmove"}
    return "\n".join(
        " ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, width, name in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in shown
    )


def _ps(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if sys.stdout.isatty() and "COLUMNS" not in environment:
        environment["COLUMNS"] = str(max(20, os.get_terminal_size().columns - COLUMN_WIDTH - 1))
    try:
        listed = subprocess.run(
            ["ps", *arguments], stdout=subprocess.PIPE, text=True, errors="replace", env=environment, check=False
        )
    except FileNotFoundError:
        raise MosixError("no-ps", "the program ps is not installed (package procps)", EXIT_NO_PS) from None
    except ValueError as error:
        raise MosixError("usage", str(error), EXIT_USAGE) from None
    return listed


if __name__ == "__main__":
    sys.exit(main())
