"""What `mosctl` has beyond openMosix: reasons for decisions, and the configuration in force.

Owns how these answers look. The reasons are the balancer's own; nothing is computed here.
"""

from __future__ import annotations

from typing import Any

from moscmd.command import print_json, printable
from moscmd.mosctl_request import QUERY_S, node_number, whole_number
from omprotocol.control import request
from omprotocol.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, MosixError


def explain(words: list[str], as_json: bool) -> int:
    """Why a process is where it is. Raises MosixError."""
    args: dict[str, Any] = {"pid": whole_number(words[0], "the PID")}
    if len(words) > 1:
        args["node"] = node_number(words[1])
    try:
        answer = request("explain", args, timeout_s=QUERY_S)
    except MosixError as error:
        if error.code != "unknown-verb":
            raise
        raise MosixError(
            "no-balancer", "This daemon runs without a balancer: nothing to explain.", EXIT_FAILED
        ) from None
    if as_json:
        print_json("explain", answer)
        return EXIT_OK
    text = answer.get("text")
    lines = text if isinstance(text, list) else str(text or answer).splitlines()
    for line in lines:
        print(printable(str(line)))
    return EXIT_OK


def config_show(action: str, with_origin: bool, as_json: bool) -> int:
    """The configuration in force, one `key = value` a line. Raises MosixError."""
    if action != "show":
        raise MosixError("usage", "Usage: mosctl config show [--origin]", EXIT_USAGE)
    answer = request("config.get", timeout_s=QUERY_S)
    if as_json:
        print_json("config", answer)
        return EXIT_OK
    for entry in answer["values"]:
        origin = f"   # {entry['origin']}" if with_origin else ""
        print(f"{entry['key']} = {entry['value']}{origin}")
    return EXIT_OK
