"""What every Python program of the suite shares: its rows, and the words it exchanges with the runner.

The same words as conformance.h; see tests/conformance/conversation.py.  A row is a function decorated with `row`;
it ends by returning (all held) or by an exception.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator

_rows: dict[str, tuple[str, str, Callable[[], None]]] = {}


def row(holds: str, options: str = "") -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Declare a row: the property it checks, and options for the runner (see rows.py)."""

    def declare(function: Callable[[], None]) -> Callable[[], None]:
        _rows[function.__name__] = (options, holds, function)
        return function

    return declare


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def go_on() -> bool:
    """Whether the runner wants another turn."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            os._exit(98)
        line += byte
    return line.strip() == b"go"


def step(command: str = "") -> bool:
    """Here it may be moved; afterwards the runner executes `command` in a shell at home."""
    say(f"step {command}")
    return go_on()


def calm() -> bool:
    """Another turn without a move."""
    say("calm")
    return go_on()


def during(command: str = "") -> None:
    """It will be moved while it does what comes next; then the runner executes `command` at home."""
    say(f"during {command}")


def turns(command: str = "") -> Iterator[int]:
    """Count the turns, each after a move."""
    number = 1
    while step(command):
        yield number
        number += 1


def equal(seen: object, expected: object, what: str = "") -> None:
    if seen != expected:
        raise AssertionError(f"{what} is {str(seen)[:120]!r} instead of {str(expected)[:120]!r}".strip())


def eventually(predicate: Callable[[], object], what: str, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not predicate():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.005)


def ready() -> None:
    """This process is the one to be moved (for rows with the option "forks", which say it themselves)."""
    say(f"ready {os.getpid()}")


def with_peer(mover: Callable[[], None], peer: Callable[[], None]) -> None:
    """`mover` in a child that is moved, `peer` in this process, its parent, which stays at home."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ready()
            mover()
            status = 0
        except BaseException as error:
            say_failure(error)
        finally:
            os._exit(status)
    peer()
    _, status = os.waitpid(child, 0)
    if status:
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def say_failure(error: BaseException) -> None:
    where = traceback.extract_tb(error.__traceback__)
    lines = ", ".join(str(frame.lineno) for frame in where if not frame.filename.endswith("steps.py"))
    say(f"fail line {lines}: {type(error).__name__}: {error}".replace("\n", " ")[:400])


def main() -> None:
    wanted = sys.argv[1]
    if wanted == "--list":
        for name, (options, holds, _) in _rows.items():
            print(f"{name}\t{options}\t{holds}")
        return
    options, _, function = _rows[wanted]
    try:
        if "forks" not in options.split():
            ready()
        function()
    except BaseException as error:
        say_failure(error)
        os._exit(1)
    say("pass")
    sys.exit(0)
