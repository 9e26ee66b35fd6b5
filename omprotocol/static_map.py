"""The static node map: the grammar of `/etc/openmosix.map` and the checks that make `setpe` refuse it.

Owns reading, checking and writing maps as text (openmosix.md 1.2, 1.3) and as the binary records of
`admin/config` (1.5); `setpe` and the daemon share it. Pure: host names are resolved by a function that the
caller passes, and no file is opened here.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from omprotocol.errors import MosixError

MAX_NODE = 65535
MAX_ENTRIES = 256
MAX_LINE_CHARACTERS = 512
_LAST_ADDRESS = 0xFFFFFFFF
_AF_INET = 2
_RECORD = struct.Struct("<iHH4s8xi")
"""first id, family, pad, address in network order, unused, count (0 = alias): 24 bytes."""

Resolve = Callable[[str], str | None]
_NUMBER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_DOTTED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MapRange:
    """Nodes first..first+count-1 at consecutive addresses."""

    first: int
    address: IPv4Address
    count: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def last_address(self) -> IPv4Address:
        return self.address + (self.count - 1)


@dataclass(frozen=True, slots=True)
class MapAlias:
    """A further address by which a listed node may show itself."""

    node: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class StaticMap:
    """A checked map. Never empty; ranges and aliases in the order of the file."""

    ranges: tuple[MapRange, ...]
    aliases: tuple[MapAlias, ...] = ()

    def address_of(self, node: int) -> IPv4Address | None:
        """The primary address of a node, or None."""
        for entry in self.ranges:
            if entry.first <= node <= entry.last:
                return entry.address + (node - entry.first)
        return None

    def node_at(self, address: IPv4Address) -> int | None:
        """The node that owns this address, also as an alias, or None."""
        for entry in self.ranges:
            if entry.address <= address <= entry.last_address:
                return entry.first + int(address) - int(entry.address)
        for alias in self.aliases:
            if alias.address == address:
                return alias.node
        return None

    def nodes(self) -> Iterator[tuple[int, IPv4Address]]:
        """Every node with its primary address, in the order of the file."""
        for entry in self.ranges:
            for offset in range(entry.count):
                yield entry.first + offset, entry.address + offset

    @property
    def total(self) -> int:
        return sum(entry.count for entry in self.ranges)


def bad_map(message: str) -> MosixError:
    """The error for a table that is refused as a whole."""
    return MosixError("bad-map", message, 1)


def parse_map(text: str, resolve: Resolve) -> StaticMap:
    """Read and check a map. Raises MosixError `bad-map` that names the line or the conflicting entries."""
    ranges: list[MapRange] = []
    aliases: list[MapAlias] = []
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(ranges) + len(aliases) >= MAX_ENTRIES:
            raise bad_map(f"Table size too big (max {MAX_ENTRIES} entries)")
        entry = _entry(line, fields, resolve)
        if isinstance(entry, MapAlias):
            aliases.append(entry)
        else:
            ranges.append(entry)
    return check_map(StaticMap(tuple(ranges), tuple(aliases)))


def check_map(table: StaticMap) -> StaticMap:
    """The same map when it is consistent. Raises MosixError `bad-map` otherwise."""
    if not table.ranges:
        raise bad_map("The table is empty: at least one line with a node, its address and a count is needed")
    for entry in table.ranges:
        if entry.first <= 0:
            raise bad_map(f"Node number {entry.first} is not possible: node numbers begin at 1")
        if entry.last > MAX_NODE:
            raise bad_map(f"Node number {entry.last} is above the maximum, {MAX_NODE}")
        if entry.count <= 0:
            raise bad_map(f"Count {entry.count} of node {entry.first} is not possible")
        if int(entry.address) + entry.count - 1 > _LAST_ADDRESS:
            raise bad_map(f"IP addresses wrap around in the range of node {entry.first}")
    _refuse_overlaps(table)
    seen: dict[IPv4Address, int] = {}
    for alias in table.aliases:
        if table.address_of(alias.node) is None:
            raise bad_map(f"Alias {alias.address} is for node {alias.node}, which is not in the table")
        if any(entry.address <= alias.address <= entry.last_address for entry in table.ranges):
            raise bad_map(f"Alias {alias.address} of node {alias.node} lies inside a range of the table")
        if alias.address in seen:
            raise bad_map(f"Two aliases, of nodes {seen[alias.address]} and {alias.node}, are both {alias.address}")
        seen[alias.address] = alias.node
    return table


def own_node(table: StaticMap, own: IPv4Address) -> int:
    """The number of the node at `own`. Raises MosixError `bad-map` when it is 0.0.0.0 or not listed."""
    if int(own) == 0:
        raise bad_map("My own IP address is 0.0.0.0: give the host name its real address in /etc/hosts")
    node = table.node_at(own)
    if node is None:
        hint = ""
        if own.is_loopback:
            hint = "; give the host name its real address in /etc/hosts, or name the node with -p"
        raise bad_map(f"The table is well-formatted, but my IP address ({own}) is not there{hint}")
    return node


def render_map(table: StaticMap) -> str:
    """The map in the syntax of the file."""
    lines = [f"{entry.first} {entry.address} {entry.count}" for entry in table.ranges]
    lines += [f"{alias.node} {alias.address}      alias" for alias in table.aliases]
    return "\n".join(lines) + "\n"


def pack_map(table: StaticMap) -> bytes:
    """The map as the 24-byte records of `admin/config`."""
    records = [_RECORD.pack(r.first, _AF_INET, 0, r.address.packed, r.count) for r in table.ranges]
    records += [_RECORD.pack(a.node, _AF_INET, 0, a.address.packed, 0) for a in table.aliases]
    return b"".join(records)


def unpack_map(data: bytes) -> StaticMap:
    """A checked map from records. Raises MosixError `bad-map` on a wrong length, family or table."""
    if len(data) % _RECORD.size or len(data) > _RECORD.size * MAX_ENTRIES:
        raise bad_map(f"A table of {len(data)} bytes is not a whole number (up to {MAX_ENTRIES}) of entries")
    ranges: list[MapRange] = []
    aliases: list[MapAlias] = []
    for first, family, _pad, packed, count in _RECORD.iter_unpack(data):
        if family != _AF_INET:
            raise bad_map(f"Network family {family} is not supported: only inet is")
        if count == 0:
            aliases.append(MapAlias(first, IPv4Address(packed)))
        else:
            ranges.append(_range(f"{first} {IPv4Address(packed)} {count}", first, IPv4Address(packed), count))
    return check_map(StaticMap(tuple(ranges), tuple(aliases)))


def map_of(nodes: list[tuple[int, IPv4Address]]) -> StaticMap | None:
    """The shortest map of single nodes, neighbours joined into ranges; None for no nodes at all."""
    ranges: list[MapRange] = []
    for node, address in sorted(nodes):
        previous = ranges[-1] if ranges else None
        if previous and node == previous.last + 1 and int(address) == int(previous.last_address) + 1:
            ranges[-1] = MapRange(previous.first, previous.address, previous.count + 1)
        else:
            ranges.append(MapRange(node, address, 1))
    return StaticMap(tuple(ranges)) if ranges else None


def _entry(line: str, fields: list[str], resolve: Resolve) -> MapRange | MapAlias:
    shown = line.strip()[:MAX_LINE_CHARACTERS]
    if len(line) > MAX_LINE_CHARACTERS or len(fields) != 3 or not _NUMBER.fullmatch(fields[0]):
        raise bad_map(f"Bad Table Input: {shown}")
    first = int(fields[0])
    is_alias = fields[2].lower() == "alias"
    if not is_alias and not _NUMBER.fullmatch(fields[2]):
        raise bad_map(f"Bad Table Input: {shown}")
    count = 0 if is_alias else int(fields[2])
    if count < 0:
        raise bad_map(f"Negative count {count} in: {shown}")
    address = _address(fields[1], resolve, shown)
    if count == 0:
        return MapAlias(first, address)
    return _range(shown, first, address, count)


def _range(shown: str, first: int, address: IPv4Address, count: int) -> MapRange:
    if count < 0:
        raise bad_map(f"Negative count {count} in: {shown}")
    return MapRange(first, address, count)


def _address(host: str, resolve: Resolve, shown: str) -> IPv4Address:
    dotted = host if _DOTTED.fullmatch(host) else resolve(host)
    if dotted is None:
        raise bad_map(f"Host {host!r} is not known (put it into /etc/hosts) in: {shown}")
    try:
        return IPv4Address(dotted)
    except ValueError:
        raise bad_map(f"Bad Table Input: {shown}") from None


def _refuse_overlaps(table: StaticMap) -> None:
    by_node = sorted(table.ranges, key=lambda entry: entry.first)
    for before, after in itertools.pairwise(by_node):
        if after.first <= before.last:
            raise bad_map(f"Conflicting node numbers: node {after.first} is listed twice")
    by_address = sorted(table.ranges, key=lambda entry: entry.address)
    for before, after in itertools.pairwise(by_address):
        if after.address <= before.last_address:
            raise bad_map(f"Conflicting IP ranges: {after.address} is listed twice")
