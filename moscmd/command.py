"""The frame every command runs in.

Owns what all commands have in common: help that begins with an example, --version, --json, one line instead
of a traceback, exit statuses, a closed pipe at the output. Standard library only, and quick to import.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from omprotocol.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, MosixError

VERSION = "0.1.0"
JSON_VERSION = 1
EXIT_CLOSED_PIPE = 141
"""128 + SIGPIPE, as of a program that the signal ended."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT."""

Body = Callable[[Sequence[str]], int | None]


class CommandParser(argparse.ArgumentParser):
    """Parses the arguments of one command; usage errors are one line and exit status 2."""

    def __init__(self, prog: str, summary: str, examples: str, has_json: bool = True) -> None:
        """`examples`: one or more lines such as "migrate 4711 home   bring it back"; shown first by --help."""
        super().__init__(prog=prog, description=summary, allow_abbrev=False, add_help=False)
        self._examples = examples
        general = self.add_argument_group("general")
        if has_json:
            general.add_argument("--json", action="store_true", help="print facts as one JSON object")
        general.add_argument("-h", "--help", action="help", help="show this help and exit")
        general.add_argument("--version", action="version", version=f"{prog} (openMosix) {VERSION}")

    def format_help(self) -> str:
        """Return the help text, the examples before everything else."""
        lines = "".join(f"  {line.strip()}\n" for line in self._examples.strip().splitlines())
        summary, self.description = self.description, None
        try:
            rest = super().format_help()
        finally:
            self.description = summary
        return f"{summary}\n\nExamples:\n{lines}\n{rest}"

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and end with exit status 2."""
        raise MosixError("usage", f"{message} (see {self.prog} --help)", EXIT_USAGE)


def run(prog: str, body: Body, arguments: Sequence[str] | None = None) -> int:
    """Run `body` with the arguments (those of the process by default) and return the exit status.

    An error becomes one line on standard error, "prog: what happened"; with --json among the arguments,
    also an object of kind "error" on standard output. OPENMOSIX_DEBUG=1 lets tracebacks of the command's
    own errors through.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = _guarded(prog, body, given)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout.fileno())
        return EXIT_CLOSED_PIPE
    except OSError as error:
        _silence(sys.stdout.fileno())
        _complain(prog, f"cannot write the output: {error.strerror}")
        return EXIT_FAILED
    return status


def print_json(kind: str, data: Any) -> None:
    """Print the one object of a --json answer: {"version": 1, "kind": …, "data": …}."""
    sys.stdout.write(json.dumps({"version": JSON_VERSION, "kind": kind, "data": data}) + "\n")


def printable(text: str) -> str:
    """Return `text` with everything escaped that could play with a terminal. For names other nodes sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _guarded(prog: str, body: Body, arguments: Sequence[str]) -> int:
    try:
        return body(arguments) or EXIT_OK
    except MosixError as error:
        if "--json" in arguments:
            print_json("error", error.to_wire())
        _complain(prog, error.message)
        return error.exit_status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _complain(prog, f"{error.strerror or error}{where}")
        return EXIT_FAILED
    except Exception as error:
        if os.environ.get("OPENMOSIX_DEBUG"):
            raise
        _complain(prog, f"failed on an error of its own, {type(error).__name__}: {error}")
        return EXIT_FAILED


def _complain(prog: str, text: str) -> None:
    try:
        sys.stderr.write(f"{prog}: {printable(text)}\n")
        sys.stderr.flush()
    except OSError:
        pass


def _silence(fd: int) -> None:
    """Let what is still buffered for `fd` go nowhere when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
