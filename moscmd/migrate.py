"""The command `migrate`: sends one process to a node, home, or wherever the balancer wants it.

Owns its arguments, texts and exit statuses, which are the original's (openmosix.md section 6): 255 for every
refusal. Unlike the original it returns when the process runs there, so that its status says what happened.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from moscmd.command import CommandParser, print_json, run
from omprotocol.control import request
from omprotocol.errors import EXIT_FAILED, EXIT_NO_DAEMON, EXIT_OK, MosixError

EXIT_REFUSED_MOVE = 255
"""Whatever went wrong with the move; -1 in the original."""
SILENCE_S = 600.0
"""Longest time without a word from the daemon, which has its own deadlines for every step."""
MAX_PID = 2**22
MAX_NODE = 65535
USAGE = "Usage: migrate pid {OpenMosix-ID|home|balance}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run("migrate", _migrate, arguments)


def parser() -> CommandParser:
    """The options of migrate."""
    made = CommandParser(
        "migrate",
        "Move a process to another node of the cluster, or bring it home.",
        """migrate 4711 3          to node 3
           migrate 4711 home       back to the node where it was started
           migrate 4711 balance    wherever the balancer finds best""",
    )
    made.add_argument("pid", help="the process, by its PID on this node, its home")
    made.add_argument("to", metavar="{NODE|home|balance}", help="where to")
    made.add_argument("--stats", action="store_true", help="print how long it was frozen, bytes sent, and total time")
    return made


def _migrate(arguments: Sequence[str]) -> int:
    words = [word for word in arguments if not word.startswith("--")]
    dashed = {word for word in arguments if word.startswith("--")}
    if len(words) != 2 and not dashed & {"--help", "--version"} and "-h" not in words:
        return _usage()
    options = parser().parse_args(arguments)
    to = _destination(options.to)
    if to is None or not options.pid.isdecimal() or not 1 <= int(options.pid) <= MAX_PID:
        return _usage()
    pid = int(options.pid)
    progress = _Progress()
    try:
        result = request("migrate", {"pid": pid, "to": to}, progress.show, SILENCE_S)
    except MosixError as error:
        raise _as_original(error, pid) from None
    finally:
        progress.clear()
    if options.json:
        print_json("migrate", result)
    elif options.stats:
        print(
            f"frozen {result.get('frozen_ms', 0):.1f} ms, {result.get('bytes', 0)} bytes, "
            f"total {result.get('total_ms', 0):.1f} ms"
        )
    return EXIT_OK


def _destination(text: str) -> int | str | None:
    for word in ("home", "balance"):
        if text and word.startswith(text.lower()):
            return word
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_NODE:
        return int(text)
    return None


def _as_original(error: MosixError, pid: int) -> MosixError:
    if error.exit_status == EXIT_NO_DAEMON:
        return MosixError(error.code, f"migrate ignored: {error.message}", EXIT_NO_DAEMON)
    message = error.message
    if error.code == "no-such-process":
        message = f"No such process ({pid})."
    elif error.code == "permission" and "ermission" not in message:
        message = f"Permission denied. {message}"
    return MosixError(error.code, message, EXIT_REFUSED_MOVE)


def _usage() -> int:
    print(USAGE)
    return EXIT_FAILED


class _Progress:
    """Shows the phases of a move on a terminal."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, body: dict[str, Any]) -> None:
        """Show one progress line of the daemon."""
        phase = body.get("phase")
        if not isinstance(phase, str) or not sys.stderr.isatty():
            return
        sent = body.get("bytes")
        amount = f" {sent / 1e6:.1f} MB" if isinstance(sent, int | float) else ""
        shown = "".join(character for character in phase if character.isprintable())[:40]
        sys.stderr.write(f"\r{shown}{amount}\x1b[K")
        sys.stderr.flush()
        self._is_shown = True

    def clear(self) -> None:
        """Leave nothing of the progress on the terminal."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
