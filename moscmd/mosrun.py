"""The command `mosrun`: runs a program with openMosix settings, on a chosen node.

Owns turning wishes into settings of its own process and becoming the program. Settings are kept by the daemon
under the PID, which exec does not change; the move follows once the program has started. Where no openMosix
runs the program just runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from moscmd.command import CommandParser, run
from moscmd.mosrun_options import EXIT_OWN_FAULT, Wishes, parse_wishes
from omprotocol.control import request
from omprotocol.errors import EXIT_NO_DAEMON, MosixError

EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127
ANSWER_S = 10.0
BLOCK = 16
UP = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns only when the program could not be started."""
    return run("mosrun", _mosrun, arguments)


def parser() -> CommandParser:
    """The options, for help and manual; mosrun reads them by rules of its own."""
    made = CommandParser(
        "mosrun",
        "Run a program with openMosix settings. Its exit status is the program's; 125 to 127 are mosrun's own.",
        """mosrun -l make -j8         free to migrate
           mosrun -3 simulate         on node 3, locked there
           mosrun -j1-4,7 simulate    on one of nodes 1, 2, 3, 4 and 7
           mosrun -c -l simulate      a CPU job, free to migrate
           mosrun -h ./daemon         at home, locked""",
        has_json=False,
    )
    made.usage = "mosrun [-h|-NODE|-jLIST] [-F] [-l|-L|-k] [DECAY] [-e|-E] [-r|-R] [-z] program [argument ...]"
    made.conflict_handler = "resolve"  # -h is openMosix's "home" here, not help
    place = made.add_argument_group("where (at most one)")
    place.add_argument("-h", action="store_true", help="start on the home node")
    place.add_argument("-NODE", action="store_true", help="start on this node; fails when it is down, unless -F")
    place.add_argument("-j", metavar="LIST", help="start on one of a list such as 1-3,7, chosen at random")
    other = made.add_argument_group("settings")
    other.add_argument("-F", action="store_true", help="do not fail when the node is unavailable: run anyway")
    other.add_argument("-l", action="store_true", help="unlock: may migrate automatically")
    other.add_argument("-L", action="store_true", help="lock: does not migrate automatically")
    other.add_argument("-k", action="store_true", help="keep the caller's lock")
    other.add_argument("-c", action="store_true", help="a CPU job: the balancer ignores its I/O")
    other.add_argument("-i", action="store_true", help="an I/O job: the balancer ignores its CPU use")
    other.add_argument("-n", action="store_true", help="statistics do not decay")
    other.add_argument("-s", action="store_true", help="slow decay")
    other.add_argument("-f", action="store_true", help="fast decay")
    other.add_argument("-d", metavar="RATE", help="own decay: keep RATE of 1000 (0-1000) every -t seconds")
    other.add_argument("-t", metavar="SECONDS", help="own decay: every so many seconds (1-65535)")
    other.add_argument("-e", action="store_true", help="the decay setting ends when the program execs another")
    other.add_argument("-E", action="store_true", help="the decay setting survives every exec")
    other.add_argument("-r", action="store_true", help="children do not inherit the decay setting")
    other.add_argument("-R", action="store_true", help="children inherit the decay setting")
    other.add_argument("-z", action="store_true", help="the argument after program becomes its argv[0]")
    return made


def _mosrun(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("--help", "--version"):
        parser().parse_args(arguments or ["--help"])
        return EXIT_OWN_FAULT
    wishes = parse_wishes(list(arguments))
    try:
        _prepare(wishes)
    except MosixError as error:
        if error.exit_status != EXIT_NO_DAEMON:
            raise MosixError(error.code, error.message, EXIT_OWN_FAULT) from None
    return _become(wishes)


def _prepare(wishes: Wishes) -> None:
    node = _choose(wishes)
    settings = _settings(wishes)
    if settings:
        request("process.set", {"set": settings}, timeout_s=ANSWER_S)
    if node is not None:
        request("process.place", {"to": node}, timeout_s=ANSWER_S)
    elif wishes.lock is False and not wishes.is_home:
        request("process.place", {"to": "balance"}, timeout_s=ANSWER_S)


def _choose(wishes: Wishes) -> int | None:
    if not wishes.nodes:
        return None
    table = request("node.table", timeout_s=ANSWER_S)
    able = {row["node"] for row in table["nodes"] if row["up"] and not row["status"] & BLOCK} | {table["node"]}
    candidates = [node for node in wishes.nodes if node in able]
    if candidates:
        chosen = candidates[int.from_bytes(os.urandom(4)) % len(candidates)]
        return chosen if chosen != table["node"] else None
    if wishes.is_forced:
        return None
    named = ",".join(map(str, wishes.nodes[:8])) + (",..." if len(wishes.nodes) > 8 else "")
    raise MosixError("no-node", f"Migration Failed: node {named} is down, unknown, or accepts no processes.")


def _settings(wishes: Wishes) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if wishes.decay == "own":
        now = {"own_rate": 975, "own_interval_s": 2}
        if wishes.rate is None or wishes.interval_s is None:
            now = request("process.get", {"pid": os.getpid()}, timeout_s=ANSWER_S)
        rate = now["own_rate"] if wishes.rate is None else wishes.rate
        interval_s = now["own_interval_s"] if wishes.interval_s is None else wishes.interval_s
        settings["own"] = [rate, interval_s]
    elif wishes.decay == "none":
        settings["own"] = [1000, 1]
    elif wishes.decay is not None:
        settings[wishes.decay] = 1
    if settings or wishes.survives_exec is not None or wishes.is_inherited is not None:
        narrow = wishes.survives_exec is not None or wishes.is_inherited is not None
        settings["exec"] = int(wishes.survives_exec is not False)
        settings["inherit"] = int(wishes.is_inherited is not False)
        settings["execonce"] = int(narrow)
    if wishes.lock is not None:
        settings["lock"] = int(wishes.lock)
    return settings


def _become(wishes: Wishes) -> int:
    # The interpreter ignores these two; the program must find them as it would without us.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    program = wishes.program[0]
    argv = [wishes.argv0 if wishes.argv0 is not None else program, *wishes.program[1:]]
    sys.stdout.flush()
    try:
        os.execvp(program, argv)
    except FileNotFoundError:
        raise MosixError("not-found", f"exec: {program}: not found", EXIT_NOT_FOUND) from None
    except OSError as error:
        raise MosixError("exec", f"exec: {program}: {error.strerror}", EXIT_CANNOT_EXECUTE) from None
    except ValueError as error:
        raise MosixError("exec", f"exec: {program}: {error}", EXIT_CANNOT_EXECUTE) from None


if __name__ == "__main__":
    sys.exit(main())
