"""The directory `admin/`: the settings of the node as files.

Owns names, modes and texts of openmosix.md 4.1; the values and what a change does belong to the administration
service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

from omdiscd.admin.service import AdminService
from omdiscd.core import admin
from omdiscd.hpc.order import must_be_one, one
from omdiscd.hpc.tree import File, Fixed, Visitor
from omprotocol.errors import EXIT_REFUSED, MosixError
from omprotocol.static_map import StaticMap, map_of, pack_map, render_map

_SETTINGS = (
    *admin.SWITCHES, "speed", "sspeed", "overheads", "mfscosts", "slowdecay", "fastdecay", "decayinterval",
    "gateways",
)  # fmt: skip


def admin_directory(service: AdminService, version: str) -> Fixed:
    """`admin/` of this node; `version` is the text of the file of that name, without a newline."""
    files = {name: _setting(service, name) for name in _SETTINGS}
    files |= {
        "expel": File(0o200, write=_expel(service)),
        "bring": File(0o200, write=_bring(service)),
        "mospe": File(0o644, read=lambda _v: f"{service.cluster.own_node}\n", write=_mospe(service)),
        "config": File(0o644, read=lambda _v: _packed(service), write=_use_setpe),
        "map": File(0o444, read=lambda _v: _map_text(service)),
        "dfsalinks": File(0o644, read=lambda _v: "", write=_no_links),
        "mfskill": File(0o200, write=_mfskill),
        "version": File(0o444, read=lambda _v: version + "\n"),
    }
    return Fixed(files)


def _setting(service: AdminService, name: str) -> File:
    def read(_visitor: Visitor) -> str:
        return admin.format_text(service.settings, name, service.measured_speed)

    def write(_visitor: Visitor, text: str) -> None:
        service.change(name, admin.parse_text(name, text))

    return File(0o644, read=read, write=write)


def _expel(service: AdminService) -> Callable[[Visitor, str], Awaitable[None]]:
    async def write(_visitor: Visitor, text: str) -> None:
        must_be_one("expel", text)
        await service.expel()

    return write


def _bring(service: AdminService) -> Callable[[Visitor, str], Awaitable[None]]:
    async def write(_visitor: Visitor, text: str) -> None:
        must_be_one("bring", text)
        await service.bring()

    return write


def _mospe(service: AdminService) -> Callable[[Visitor, str], None]:
    def write(visitor: Visitor, text: str) -> None:
        node = one("mospe", text)
        if not 0 <= node <= 65535:
            raise admin.improper("mospe", "a node number is 0-65535")
        if node != service.cluster.own_node:
            _use_setpe(visitor, text)

    return write


def _use_setpe(_visitor: Visitor, _text: str) -> None:
    # The map decides who may speak to this node at all, so it is changed by a command that checks it as a whole.
    raise MosixError("permission", "The map is changed by setpe, not through this file.", EXIT_REFUSED)


def _no_links(_visitor: Visitor, text: str) -> None:
    if text.strip():
        raise admin.improper("dfsalinks", "links are followed on the node where the process runs")


def _mfskill(_visitor: Visitor, text: str) -> None:
    must_be_one("mfskill", text)
    raise MosixError("no-migration", "There is no MFS connection to end.", 1)


def _map(service: AdminService) -> StaticMap | None:
    return map_of([(node, IPv4Address(address)) for node, address in service.cluster.nodes()])


def _packed(service: AdminService) -> bytes:
    table = _map(service)
    return pack_map(table) if table else b""


def _map_text(service: AdminService) -> str:
    table = _map(service)
    return render_map(table) if table else ""
