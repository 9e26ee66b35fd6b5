"""The command `showmap`: the map of the cluster in openMosix's form.

Owns how the map looks. The text is that of openMosix's own showmap: one row per node that is up, "alias" in
place of the count for further addresses.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from moscmd.command import CommandParser, print_json, run
from omprotocol.control import request
from omprotocol.errors import EXIT_FAILED, EXIT_OK, MosixError

JOINING_S = 3.0
"""How long to wait for a daemon that has just started to take its number."""
_UP = ("self", "alive", "suspect")
_HEADER = "Base Node-Id Address          Count\n------------ ---------------- -----"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run("showmap", _showmap, arguments)


def _showmap(arguments: Sequence[str]) -> int:
    parser = CommandParser(
        "showmap",
        "Show the nodes of the cluster: number, address, and how many consecutive ones begin there.",
        "showmap          the nodes that are up\nshowmap --all    also those that are down or left",
    )
    parser.add_argument("-a", "--all", action="store_true", help="list nodes that are down or left, too")
    options = parser.parse_args(arguments)
    table = _settled()
    if options.json:
        print_json("showmap", table)
    elif table["node"]:
        print(_as_text(table, options.all))
    else:
        print("openMosix not configured.")
    if table["taken_by"]:
        message = (
            f"node number 0x{table['claimed']:04x} is in use by {table['taken_by']}: this node stays out "
            "of the cluster until the number is free."
        )
        raise MosixError("number-taken", message, EXIT_FAILED)
    return EXIT_OK


def _settled() -> dict[str, Any]:
    """Return the map once the node has taken its number or cannot have it, or after JOINING_S."""
    deadline = time.monotonic() + JOINING_S
    while True:
        table = request("showmap")
        if table["state"] != "joining" or time.monotonic() >= deadline:
            return table
        time.sleep(0.05)


def _as_text(table: dict[str, Any], with_all: bool) -> str:
    rows = [f"My Node-Id: 0x{table['node']:04x}", "", _HEADER]
    for entry in table["entries"]:
        is_up = entry["state"] in _UP
        if is_up or with_all:
            count = "alias" if entry["count"] is None else str(entry["count"])
            remark = "" if is_up else f" {entry['state']}"
            rows.append(f"0x{entry['node']:04x}       {entry['address']:<16s} {count}{remark}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
