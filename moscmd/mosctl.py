"""The command `mosctl`: shows and changes the settings of a node.

Owns which words it knows and how many arguments each takes; what they do stands in the modules beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moscmd.command import CommandParser, run
from moscmd.mosctl_extras import config_show, explain
from moscmd.mosctl_queries import getdecay, gettune, getyard, query, whois
from moscmd.mosctl_request import node_number
from moscmd.mosctl_setters import setdecay, setspeed, setyard
from moscmd.mosctl_switches import evacuate, switch, undrain
from omprotocol.errors import EXIT_FAILED, EXIT_USAGE, MosixError


@dataclass(frozen=True)
class Invocation:
    """What was asked for, parsed."""

    words: list[str]
    node: int
    as_json: bool
    with_origin: bool


@dataclass(frozen=True)
class Subcommand:
    """One word of mosctl: how many arguments it takes, how it is described, what it does."""

    arguments: str
    least: int
    most: int
    summary: str
    act: Callable[[Invocation], int]
    aliases: tuple[str, ...] = ()


def _switch(name: str, summary: str, *aliases: str) -> Subcommand:
    return Subcommand("", 0, 0, summary, lambda i: switch(name, i.node, i.as_json), aliases)


def _evacuate(name: str, summary: str) -> Subcommand:
    return Subcommand("", 0, 0, summary, lambda i: evacuate(name, i.node, i.as_json))


def _query(name: str, summary: str, *aliases: str) -> Subcommand:
    def act(given: Invocation) -> int:
        node = node_number(given.words[0]) if given.words else given.node
        return query(name, node, given.as_json)

    return Subcommand("[NODE]", 0, 1, summary, act, aliases)


SUBCOMMANDS: dict[str, Subcommand] = {
    "stay": _switch("stay", "no process leaves this node automatically"),
    "nostay": _switch("nostay", "processes may leave again", "-stay"),
    "lstay": _switch("lstay", "local processes do not leave automatically, guests still may"),
    "nolstay": _switch("nolstay", "local processes may leave again", "-lstay"),
    "block": _switch("block", "accept no guests"),
    "noblock": _switch("noblock", "accept guests again", "-block"),
    "quiet": _switch("quiet", "stop telling the load and balancing"),
    "noquiet": _switch("noquiet", "tell the load and balance again", "-quiet"),
    "nomfs": _switch("nomfs", "serve no files to other nodes over MFS", "-mfs"),
    "mfs": _switch("mfs", "serve files over MFS again", "-nomfs", "nonomfs"),
    "expel": _evacuate("expel", "send all guests away and accept no more; returns when done"),
    "bring": _evacuate("bring", "bring all local processes home and keep them; returns when done"),
    "drain": _evacuate("drain", "send all guests away and stay empty, also after a restart, until undrain"),
    "undrain": Subcommand("", 0, 0, "end draining", lambda i: undrain(i.node, i.as_json)),
    "getload": _query("getload", "load: 100 is one process on one standard processor"),
    "getspeed": _query("getspeed", "speed of a processor of the node", "speedof"),
    "status": _query("status", "up or down, and the switches that are on", "stat"),
    "isup": _query("isup", "whether the node is up: yes or no"),
    "getmem": _query("getmem", "logically free memory in bytes", "memory", "mem"),
    "getfree": _query(
        "getfree", "physically free memory in bytes", "getrawmem", "getrawfree", "rawfree"
    ),
    "getutil": _query("getutil", "utilizability", "util", "getutilizability", "utilizability"),
    "getyard": Subcommand("", 0, 0, "the yardstick", lambda i: getyard(i.node, i.as_json)),
    "getdecay": Subcommand(
        "", 0, 0, "how statistics decay", lambda i: getdecay(i.node, i.as_json), ("decay",)
    ),
    "gettune": Subcommand("", 0, 0, "the overhead parameters", lambda i: gettune(i.node, i.as_json)),
    "whois": Subcommand(
        "[NODE|ADDRESS|HOST]", 0, 1, "number of this node, address of a node, number of a host",
        lambda i: whois(i.words[0] if i.words else None, i.as_json),
    ),
    "setspeed": Subcommand(
        "SPEED", 1, 1, "override the node's idea of its speed (1-65535)",
        lambda i: setspeed(i.words[0], i.node, i.as_json),
    ),
    "setyard": Subcommand(
        "PROCESSOR|SPEED|this", 0, 1, "set the unit in which loads are shown",
        lambda i: setyard(i.words[0] if i.words else None, i.node, i.as_json),
    ),
    "setdecay": Subcommand(
        "INTERVAL SLOW FAST", 3, 3, "decay every INTERVAL s (1-65535); leave SLOW and FAST of 1000, SLOW >= FAST",
        lambda i: setdecay(i.words, i.node, i.as_json),
    ),
    "explain": Subcommand(
        "PID [NODE]", 1, 2, "why a process is where it is, or does not go to NODE",
        lambda i: explain(i.words, i.as_json),
    ),
    "config": Subcommand(
        "show", 1, 1, "the configuration in force (--origin: and where each value comes from)",
        lambda i: config_show(i.words[0], i.with_origin, i.as_json),
    ),
    "key": Subcommand("init|show", 1, 1, "make or check the cluster key", lambda i: _key(i)),
}  # fmt: skip
ALIASES = {alias: name for name, subcommand in SUBCOMMANDS.items() for alias in subcommand.aliases}


class _MosctlParser(CommandParser):
    """Adds the list of commands to the help."""

    def format_help(self) -> str:
        rows = []
        for name, subcommand in SUBCOMMANDS.items():
            also = f" (also {', '.join(subcommand.aliases)})" if subcommand.aliases else ""
            words = f"{name} {subcommand.arguments}".strip()
            rows.append(f"  {words:<28s} {subcommand.summary}{also}\n")
        return f"{super().format_help()}\ncommands:\n{''.join(rows)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run("mosctl", _mosctl, arguments)


def parser() -> CommandParser:
    """The options of mosctl; its words are in SUBCOMMANDS."""
    made = _MosctlParser(
        "mosctl",
        "Show and change the settings of openMosix.",
        """mosctl status            up, and which switches are on
           mosctl getload 2         the load of node 2
           mosctl block             accept no guests here
           mosctl setdecay 5 975 926   change the decay of statistics
           mosctl whois             the number of this node""",
    )
    made.usage = "mosctl [--json] [--node N] COMMAND [ARGUMENT ...]"
    made.add_argument("command", help="one of the commands below")
    made.add_argument("arguments", nargs="*", help="its arguments")
    made.add_argument("--node", metavar="N", help="change or ask node N instead of this one (administrators)")
    made.add_argument("--origin", action="store_true", help="with config show: where each value comes from")
    return made


def _mosctl(arguments: Sequence[str]) -> int:
    options = parser().parse_intermixed_args(_without_dashed_words(arguments))
    name = options.command.lower()
    subcommand = SUBCOMMANDS.get(ALIASES.get(name, name))
    if subcommand is None:
        raise MosixError("no-such-option", f"No such option: '{options.command[:40]}' (see mosctl --help)", EXIT_FAILED)
    words: list[str] = options.arguments
    if not subcommand.least <= len(words) <= subcommand.most:
        usage = " ".join(filter(None, ("mosctl", name, subcommand.arguments)))
        raise MosixError("usage", f"Usage: {usage}", EXIT_USAGE)
    node = node_number(options.node) if options.node is not None else 0
    return subcommand.act(Invocation(words, node, options.json, options.origin))


def _without_dashed_words(arguments: Sequence[str]) -> list[str]:
    # "-stay" and its like are words of openMosix, not options.
    return [ALIASES.get(word.lower(), word) if word.startswith("-") else word for word in arguments]


def _key(given: Invocation) -> int:
    from moscmd.key import key_command

    return key_command([*given.words, *(["--json"] if given.as_json else [])])


if __name__ == "__main__":
    sys.exit(main())
