"""The frame of the view's commands: help with examples, one line instead of a traceback, exit statuses.

Owns nothing but that frame. Standard library only.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import NoReturn

from omprotocol.errors import EXIT_FAILED, EXIT_USAGE, MosixError
from openmosixview.version import VERSION

EXIT_CLOSED_PIPE = 141
EXIT_INTERRUPTED = 130


class _Parser(ArgumentParser):
    _examples = ""

    def error(self, message: str) -> NoReturn:
        raise MosixError("usage", f"{message} (see {self.prog} --help)", EXIT_USAGE)


def parser_for(program: str, summary: str, examples: str) -> ArgumentParser:
    """A parser whose help begins with examples; usage errors end with status 2."""
    lines = "".join(f"  {line.strip()}\n" for line in examples.strip().splitlines())
    made = _Parser(
        prog=program,
        description=f"{summary}\n\nExamples:\n{lines}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made._examples = examples
    made.add_argument("--version", action="version", version=f"{program} (openMosix) {VERSION}")
    return made


def run_command(program: str, body: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Run `body`; its errors become one line on standard error and an exit status."""
    try:
        status = body(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except MosixError as error:
        print(f"{program}: {error.message}", file=sys.stderr)
        return error.exit_status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return EXIT_CLOSED_PIPE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"{program}: {error.strerror or error}{where}", file=sys.stderr)
        return EXIT_FAILED
    return status
