"""Requests of `mosctl` to the daemon, their deadlines, and progress on a terminal.

Owns how long is waited for what. Everything is said by the daemon; nothing is read from its files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from omprotocol.control import request
from omprotocol.errors import EXIT_USAGE, MosixError

QUERY_S = 10.0
EVACUATION_S = 3600.0
"""Longest silence while a node is emptied: one large process may take long and says nothing meanwhile."""
MAX_NODE = 65535


def admin_request(
    verb: str, node: int, on_progress: Callable[[dict[str, Any]], None] | None = None, **args: Any
) -> dict[str, Any]:
    """Say a verb of administration for this node (0) or another. Raises MosixError."""
    waits = verb in ("admin.expel", "admin.bring", "admin.drain")
    return request(verb, args | {"node": node}, on_progress, EVACUATION_S if waits else 2 * QUERY_S)


def facts_of(node: int) -> dict[str, Any]:
    """Facts of a node, from that node. Raises MosixError."""
    return request("node.facts", {"node": node}, timeout_s=QUERY_S)


def node_number(text: str) -> int:
    """A node number from the command line. Raises MosixError `improper-value`."""
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or not 1 <= int(text) <= MAX_NODE:
        raise MosixError("improper-value", f"Error: Improper node number '{text[:40]}' (1-{MAX_NODE})", EXIT_USAGE)
    return int(text)


def whole_number(text: str, what: str) -> int:
    """A whole number from the command line; its range is the daemon's matter. Raises MosixError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise MosixError("improper-value", f"Error: Improper value '{text[:40]}' for {what}", EXIT_USAGE)
    return int(text)


def show_progress(body: dict[str, Any]) -> None:
    """Show how many have moved, on a terminal only."""
    if not sys.stderr.isatty():
        return
    done, total = body.get("done"), body.get("total")
    if isinstance(done, int) and isinstance(total, int):
        sys.stderr.write(f"\r{done} of {total}\x1b[K" + ("\r\x1b[K" if done >= total else ""))
        sys.stderr.flush()
