"""Which rows there are: compiles the programs and asks each for its list.

Options of a row, separated by blanks: "root" (as root, else as the user om), "terminal" (on a terminal of its own),
"shell" (its parent is a shell, which leads the session), "forks" (the process to be moved is named by a later line),
"ends=N" (exit status, negative: signal), "before=COMMAND" (last; a shell command that root executes at home first).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = "/usr/bin/python3"
ORDER = (
    "registers",
    "signals",
    "clocks",
    "threads",
    "memory",
    "files",
    "locks",
    "filesystem",
    "devices",
    "pipes",
    "queues",
    "terminals",
    "sockets",
    "network",
    "families",
    "identity",
    "exits",
)


class Row(msgspec.Struct, frozen=True):
    """One property and the program that checks it."""

    group: str
    name: str
    options: tuple[str, ...]
    holds: str
    before: str = ""

    @property
    def title(self) -> str:
        """GROUP/NAME, as given to --row."""
        return f"{self.group}/{self.name}"

    @property
    def user(self) -> str | None:
        """Who runs it."""
        return None if "root" in self.options else "om"

    @property
    def ends(self) -> int:
        """The exit status it must end with."""
        return next((int(word[5:]) for word in self.options if word.startswith("ends=")), 0)


def build(directory: Path) -> None:
    """Compile and copy the programs into `directory`, which is made.  Blocks."""
    directory.mkdir(parents=True, exist_ok=True)
    for source in sorted(PROGRAMS.iterdir()):
        if source.suffix == ".py":
            (directory / source.name).write_bytes(source.read_bytes())
        elif source.suffix == ".c":
            target = directory / source.stem
            command = ["gcc", "-O1", "-Wall", "-Wextra", "-pthread", "-o", str(target), str(source), "-lm"]
            newest = max(source.stat().st_mtime, (PROGRAMS / "conformance.h").stat().st_mtime)
            if not target.exists() or target.stat().st_mtime < newest:
                subprocess.run(command, check=True, timeout=120)


def command_of(group: str, name: str, directory: str) -> list[str]:
    """The command line that runs a row of a program in `directory`."""
    compiled = (PROGRAMS / f"{group}.c").exists()
    return [f"{directory}/{group}", name] if compiled else [PYTHON, f"{directory}/{group}.py", name]


def all_rows(directory: Path) -> list[Row]:
    """Every row of the programs built in `directory`, in the order of the table.  Blocks."""
    rows: list[Row] = []
    for group in ORDER:
        if not list(PROGRAMS.glob(f"{group}.*")):
            continue
        listed = subprocess.run(
            command_of(group, "--list", str(directory)), check=True, capture_output=True, text=True, timeout=60
        )
        for line in listed.stdout.splitlines():
            name, options, holds = line.split("\t")
            words, _, before = options.partition("before=")
            rows.append(Row(group, name, tuple(words.split()), holds, before))
    return rows


def chosen(rows: list[Row], patterns: list[str]) -> list[Row]:
    """The rows named by GROUP or GROUP/NAME; all without any.  Exits with a message when a name is unknown."""
    for pattern in patterns:
        if not any(pattern in (row.group, row.title) for row in rows):
            sys.exit(f"no row {pattern}")
    return [row for row in rows if not patterns or row.group in patterns or row.title in patterns]
