"""How addresses become node numbers: by openMosix's rule, or by a static map.

With a map (`openmosix.map` in the configuration directory) only the nodes in it belong to the cluster, and
each has the number the map gives it. Without one the number is the low 16 bits of the primary address.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path

from omdiscd.config import SEEDS_MAX
from omdiscd.io.interfaces import Interface
from omprotocol.errors import EXIT_FAILED, MosixError
from omprotocol.static_map import StaticMap, parse_map


@dataclass(frozen=True)
class Numbering:
    """The rule in force; `table` is the static map, None in discovery mode."""

    table: StaticMap | None = None

    def number_of(self, address: int) -> int | None:
        """Return the node number of an address (an integer), None when it belongs to no node of this
        cluster.
        """
        if self.table is not None:
            return self.table.node_at(IPv4Address(address))
        return address & 0xFFFF or None

    def own(self, interfaces: Sequence[Interface]) -> tuple[int, list[Interface]]:
        """Return this node's number, and the interfaces with the one that gives it first.

        Raises MosixError `bad-address` or `not-in-map`.
        """
        for interface in interfaces if self.table is not None else interfaces[:1]:
            number = self.number_of(interface.address)
            if number is not None:
                return number, [interface, *(other for other in interfaces if other is not interface)]
        address = IPv4Address(interfaces[0].address)
        if self.table is None:
            message = f"The address {address} gives node number 0, which is not possible."
            raise MosixError("bad-address", message, EXIT_FAILED)
        message = f"The map is well-formatted, but my IP address ({address}) is not there!"
        raise MosixError("not-in-map", message, EXIT_FAILED)

    def seeds(self, own: int) -> tuple[int, ...]:
        """Return addresses of other nodes to speak to first, SEEDS_MAX at most, chosen by chance from a
        long map.
        """
        if self.table is None:
            return ()
        others = [int(address) for node, address in islice(self.table.nodes(), 65536) if node != own]
        return tuple(others if len(others) <= SEEDS_MAX else random.sample(others, SEEDS_MAX))


def load_numbering(path: Path) -> Numbering:
    """Read the map; the rule when there is none. Raises MosixError `bad-map`. Blocks on files and names."""
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return Numbering()
    except (OSError, UnicodeDecodeError) as error:
        raise MosixError("bad-map", f"{path} cannot be read: {error}", EXIT_FAILED) from None
    return Numbering(parse_map(text, _resolve))


def _resolve(name: str) -> str | None:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None
