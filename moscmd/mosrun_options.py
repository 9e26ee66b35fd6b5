"""The options of `mosrun`, which are older than getopt's rules: parsing them, and nothing else.

Owns openmosix.md 7.1 and 7.2: one option per argument, some letters in either case, `-3` for a node, `-d900` or
`-d 900`, everything from the first word that is no option is the program.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from omprotocol.errors import MosixError

EXIT_OWN_FAULT = 125
MAX_NODE = 65535
MAX_LISTED = 4096


@dataclass
class Wishes:
    """What mosrun was asked for. `nodes` empty: no node was named; `lock` None: keep the caller's."""

    program: list[str]
    argv0: str | None = None
    is_home: bool = False
    nodes: list[int] = field(default_factory=list)
    is_forced: bool = False
    lock: bool | None = None
    decay: str | None = None
    rate: int | None = None
    interval_s: int | None = None
    survives_exec: bool | None = None
    is_inherited: bool | None = None


def parse_wishes(arguments: list[str]) -> Wishes:
    """Read the arguments. Raises MosixError `usage`, exit status 125."""
    wishes = Wishes([])
    lock: str | None = None
    takes_argv0 = False
    position = 0
    while position < len(arguments) and arguments[position].startswith("-") and len(arguments[position]) > 1:
        word = arguments[position]
        position += 1
        if word == "--":
            break
        letter, rest = word[1], word[2:]
        if letter.isdecimal():
            _place(wishes)
            wishes.nodes = [_number(word[1:], "node", 1, MAX_NODE)]
        elif letter == "j":
            _place(wishes)
            wishes.nodes = node_list(rest)
        elif letter in "dDtT":
            if not rest:
                if position >= len(arguments):
                    raise usage(f"-{letter} needs a number")
                rest = arguments[position]
                position += 1
            _own(wishes, letter.lower(), rest)
        elif rest:
            raise usage(f"unknown option {word}")
        elif letter in "hH":
            _place(wishes)
            wishes.is_home = True
        elif letter == "F":
            wishes.is_forced = True
        elif letter in "lLk":
            if lock is not None:
                raise usage("only one of -l, -L and -k is possible")
            lock = letter
        elif letter in "cCiInNsSf":
            _decay(wishes, letter.lower())
        elif letter in "eE":
            wishes.survives_exec = letter == "E"
        elif letter in "rR":
            wishes.is_inherited = letter == "R"
        elif letter in "zZ":
            takes_argv0 = True
        else:
            raise usage(f"unknown option {word}")
    wishes.program = arguments[position:]
    if not wishes.program:
        raise usage("no program is named")
    if takes_argv0:
        if len(wishes.program) < 2:
            raise usage("-z needs the program and what it shall be called")
        wishes.argv0 = wishes.program.pop(1)
    wishes.lock = _lock(wishes, lock)
    return wishes


def node_list(text: str) -> list[int]:
    """Nodes of a list such as 1-3,7. Raises MosixError `usage`."""
    nodes: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = _number(first, "node", 1, MAX_NODE)
        high = _number(last, "node", 1, MAX_NODE) if dash else low
        if high < low or len(nodes) + high - low >= MAX_LISTED:
            raise usage(f"-j: {part!r} is not a range of nodes")
        nodes.extend(range(low, high + 1))
    return nodes


def usage(why: str) -> MosixError:
    """The error for arguments that make no sense."""
    return MosixError("usage", f"{why} (see mosrun --help)", EXIT_OWN_FAULT)


def _place(wishes: Wishes) -> None:
    if wishes.is_home or wishes.nodes:
        raise usage("only one of -h, -NODE and -j is possible")


def _decay(wishes: Wishes, letter: str) -> None:
    if wishes.decay is not None:
        raise usage("only one of -c, -i, -n, -s, -f and -t/-d is possible")
    wishes.decay = {"c": "cpujob", "i": "iojob", "n": "none", "s": "slow", "f": "fast"}[letter]


def _own(wishes: Wishes, letter: str, text: str) -> None:
    if wishes.decay not in (None, "own"):
        raise usage("only one of -c, -i, -n, -s, -f and -t/-d is possible")
    wishes.decay = "own"
    if letter == "d":
        wishes.rate = _number(text, "-d", 0, 1000)
    else:
        wishes.interval_s = _number(text, "-t", 1, 65535)


def _lock(wishes: Wishes, letter: str | None) -> bool | None:
    if letter is not None:
        return None if letter == "k" else letter == "L"
    # openMosix's rule: a placement locks, and so does asking for nothing about decay.
    return True if wishes.is_home or wishes.nodes or wishes.decay is None else None


def _number(text: str, what: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or not low <= int(text) <= high:
        raise usage(f"{what}: {text[:40]!r} is not within {low}-{high}")
    return int(text)
