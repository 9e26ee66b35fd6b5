"""The real option parsers of all commands, for manual pages and completions.

Owns how a parser is got hold of: the command is run until it parses, and the parser is taken away from it.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

# Command: module with main() (or module:function), and arguments that get it as far as parsing.
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "migrate": ("moscmd.migrate", ["1", "2"]),
    "mosctl": ("moscmd.mosctl", ["status"]),
    "mosmon": ("moscmd.mosmon", []),
    "mosrun": ("moscmd.mosrun", ["--help"]),
    "mtop": ("moscmd.mtop", []),
    "omdiscd": ("omdiscd.main", []),
    "omlab": ("omlab.main", []),
    "openmosixanalyzer": ("openmosixview.main:analyzer_main", []),
    "openmosixcollector": ("openmosixview.collector.command", []),
    "openmosixhistory": ("openmosixview.main:history_main", []),
    "openmosixmigmon": ("openmosixview.main:migmon_main", []),
    "openmosixprocs": ("openmosixview.main:procs_main", []),
    "openmosixview": ("openmosixview.main:view_main", []),
    "setpe": ("moscmd.setpe", []),
    "showmap": ("moscmd.showmap", []),
}


class _Caught(BaseException):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser a command uses. Raises LookupError for one that does not parse."""
    module, arguments = COMMANDS[command]
    name, _, function = module.partition(":")
    main = getattr(importlib.import_module(name), function or "main")
    original = argparse.ArgumentParser.parse_args
    intermixed = argparse.ArgumentParser.parse_intermixed_args

    def take(self: argparse.ArgumentParser, *_args: Any, **_named: Any) -> argparse.Namespace:
        raise _Caught(self)

    argparse.ArgumentParser.parse_args = take  # type: ignore[method-assign, assignment]
    argparse.ArgumentParser.parse_intermixed_args = take  # type: ignore[method-assign, assignment]
    try:
        main(arguments)
    except _Caught as caught:
        return caught.parser
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]
        argparse.ArgumentParser.parse_intermixed_args = intermixed  # type: ignore[method-assign]
    raise LookupError(f"{command} does not parse its arguments")


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Options and named arguments, in order; those hidden from help, and sub-commands, are left out."""
    return [
        action
        for action in parser._actions
        if action.help is not argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction)
    ]
