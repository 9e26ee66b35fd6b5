"""The setters of `mosctl`: speed, yardstick, decay.

Owns reading their arguments and their texts (openmosix.md 5.5); ranges are checked by the daemon.
"""

from __future__ import annotations

import sys

from moscmd.command import print_json
from moscmd.mosctl_queries import yardstick_guess
from moscmd.mosctl_request import admin_request, whole_number
from moscmd.processor_speeds import SPEEDS, speed_of
from omprotocol.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, MosixError


def setspeed(text: str, node: int, as_json: bool) -> int:
    """Override the node's idea of its speed. Raises MosixError."""
    speed = whole_number(text, "the speed (1-65535)")
    answer = admin_request("admin.set", node, name="speed", value=speed)
    if as_json:
        print_json("setspeed", answer | {"speed": speed})
    else:
        print(f"Speed already set to {speed}." if answer["already"] else f"Speed set to {speed}.")
    return EXIT_OK


def setyard(text: str | None, node: int, as_json: bool) -> int:
    """Set the unit in which loads are shown. Raises MosixError."""
    if text is None:
        sys.stderr.write("Recognised processors:\n")
        for name, speed in SPEEDS.items():
            sys.stderr.write(f"  {name:<12s} {speed:>6d}\n")
        sys.stderr.write("or a number (1-65535), or 'this' for the speed of this node\n")
        return EXIT_FAILED
    if text.lower() == "this":
        yardstick = int(admin_request("admin.get", node)["settings"]["speed"])
    elif text.isdecimal():
        yardstick = whole_number(text, "the yardstick (1-65535)")
    else:
        known = speed_of(text)
        if known is None:
            message = f"Error: Improper value '{text[:40]}': no such processor (setyard alone lists those known)"
            raise MosixError("improper-value", message, EXIT_USAGE)
        yardstick = known
    answer = admin_request("admin.set", node, name="sspeed", value=yardstick)
    if as_json:
        print_json("setyard", answer | {"yardstick": yardstick})
    else:
        print(f"Yardstick speed set to {yardstick}{yardstick_guess(yardstick)}.")
    return EXIT_OK


def setdecay(words: list[str], node: int, as_json: bool) -> int:
    """Interval in seconds and what slow and fast decay leave of 1000. Raises MosixError."""
    names = ("the interval (1-65535)", "slow (1-1000)", "fast (1-1000)")
    interval, slow, fast = (whole_number(word, name) for word, name in zip(words, names, strict=True))
    try:
        answer = admin_request("admin.decay", node, interval=interval, slow=slow, fast=fast)
    except MosixError as error:
        if error.code != "improper-value":
            raise
        raise MosixError(error.code, f"Error: Improper value: {error.message}", error.exit_status) from None
    if as_json:
        print_json("setdecay", answer | {"interval_s": interval, "slow": slow, "fast": fast})
    else:
        print("Decay settings were so already." if answer["already"] else "Decay settings changed.")
    return EXIT_OK
