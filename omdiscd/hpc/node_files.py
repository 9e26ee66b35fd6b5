"""The directories `nodes/N/` and `info/`: what every node says about itself.

Owns their files and texts (openmosix.md 4.3, 4.4). Other nodes are asked, with a deadline; a silent node reads
-101 and one that is not configured -6, as with openMosix.
"""

from __future__ import annotations

import struct
from dataclasses import asdict

from omdiscd.admin.nodes import NodeFacts
from omdiscd.admin.service import AdminService
from omdiscd.core.admin_load import shown_load
from omdiscd.core.admin_status import CONFIGURED, NOT_CONFIGURED_ANSWER, SILENT_ANSWER
from omdiscd.hpc.tree import File, Fixed, Numbered, Visitor
from omprotocol.errors import MosixError

NODE_FILES = ("cpus", "load", "speed", "mem", "rmem", "tmem", "util", "status")
INFO_ARRAYS = {
    "loads": "load", "speeds": "speed", "cpus": "cpus", "mems": "mem", "rmems": "rmem", "tmems": "tmem",
    "utils": "util", "stata": "status",
}  # fmt: skip
INFO_RECORD = struct.Struct("<IHHHHQQQ")
"""load, speed, cpus, util, status, mem, rmem, tmem: the 36-byte record of `info/infos`."""
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


def nodes_directory(service: AdminService) -> Numbered:
    """`nodes/`: one directory per configured node."""

    def numbers() -> list[int]:
        return [node for node, _ in service.cluster.nodes()]

    def make(node: int) -> Fixed:
        return Fixed({name: _node_file(service, node, name) for name in NODE_FILES})

    return Numbered(numbers, lambda node: service.cluster.address_of(node) is not None, make)


def _node_file(service: AdminService, node: int, name: str) -> File:
    async def read(_visitor: Visitor) -> str:
        try:
            facts = await service.nodes.facts(node)
        except MosixError as error:
            if name == "status" and error.code == "no-response":
                return f"{CONFIGURED}\n"
            return f"{SILENT_ANSWER if error.code == 'no-response' else NOT_CONFIGURED_ANSWER}\n"
        return f"{_value(service, facts, name)}\n"

    return File(0o444, read=read)


def info_directory(service: AdminService) -> Fixed:
    """`info/`: arrays over all nodes; `infos` keeps the binary record, the others are lines "node value"."""
    files = {name: _array_file(service, fact) for name, fact in INFO_ARRAYS.items()}

    async def infos(_visitor: Visitor) -> bytes:
        facts = await _all_facts(service)
        empty = bytes(INFO_RECORD.size)
        return b"".join(
            _record(service, facts[node]) if node in facts else empty for node in range(1, max(facts, default=0) + 1)
        )

    return Fixed(files | {"infos": File(0o444, read=infos)})


def _array_file(service: AdminService, fact: str) -> File:
    async def read(_visitor: Visitor) -> str:
        facts = await _all_facts(service)
        return "".join(
            f"{node} {_value(service, one, fact) if one else SILENT_ANSWER}\n" for node, one in sorted(facts.items())
        )

    return File(0o444, read=read)


async def _all_facts(service: AdminService) -> dict[int, NodeFacts | None]:
    known = await service.nodes.known_facts()
    return {node: known.get(node) for node, _ in service.cluster.nodes()}


def _value(service: AdminService, facts: NodeFacts, name: str) -> int:
    if name == "load":
        return shown_load(facts.load, service.settings.sspeed)
    return int(asdict(facts)[name])


def _record(service: AdminService, facts: NodeFacts | None) -> bytes:
    if facts is None:
        return INFO_RECORD.pack(0, 0, 0, 0, CONFIGURED, 0, 0, 0)
    return INFO_RECORD.pack(
        min(shown_load(facts.load, service.settings.sspeed), _U32),
        min(facts.speed, _U16),
        min(facts.cpus, _U16),
        min(facts.util, _U16),
        facts.status & _U16,
        facts.mem,
        facts.rmem,
        facts.tmem,
    )
