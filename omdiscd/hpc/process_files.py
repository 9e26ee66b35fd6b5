"""The directories `pid/PID/`, `decay/` and `remote/PID/`: single processes as files.

Owns names, modes and texts of openmosix.md 4.2, 4.5 and 4.7. The kernel allows nothing of ours in /proc, so
what was /proc/PID/where is pid/PID/where here. Orders to move return at once: a process may write them for
itself, and must not be waiting in the daemon while it is frozen.
"""

from __future__ import annotations

from omdiscd.admin import process_facts
from omdiscd.admin.interfaces import Destination, GuestHere
from omdiscd.admin.service import AdminService
from omdiscd.core.admin import improper
from omdiscd.core.admin_process import DECAY_TYPES
from omdiscd.hpc.guest_texts import identity_text, statm_text, stats_text
from omdiscd.hpc.order import must_be_one, numbers, one
from omdiscd.hpc.tree import File, Fixed, Numbered, Visitor
from omprotocol.errors import MosixError
from omprotocol.static_map import MAX_NODE

_PLAIN_SETTINGS = ("sigmig", "disclosure", "selected", "migfilter", "migpolicy", "miggroup")


def pid_directory(service: AdminService) -> Numbered:
    """`pid/`: one directory per process of this node, and `self` for the visitor's own."""
    return Numbered(
        process_facts.all_pids,
        process_facts.exists,
        lambda pid: _process(service, pid),
        self_name="self",
    )


def _process(service: AdminService, pid: int) -> Fixed:
    processes, migration = service.processes, service.migration
    try:
        owner = process_facts.owner(pid)
    except MosixError:
        owner = 0

    def setting(name: str) -> File:
        return File(
            0o644,
            read=lambda _v: f"{int(getattr(processes.rules(pid), name))}\n",
            write=lambda v, text: _set(service, v, pid, name, one(name, text)),
            uid=owner,
        )

    def cantmove(_visitor: Visitor) -> str:
        reasons = migration.cantmove(pid)
        return ", ".join(reasons) + "\n" if reasons else ""

    files = {
        "where": File(0o444, read=lambda _v: f"{processes.where(pid)}\n", uid=owner),
        "nmigs": File(0o444, read=lambda _v: f"{migration.nmigs(pid)}\n", uid=owner),
        "lock": setting("lock"),
        "cantmove": File(0o444, read=cantmove, uid=owner),
        "goto": File(0o222, write=lambda v, text: _go(service, v, pid, "goto", text), uid=owner),
        "migrate": File(0o200, write=lambda v, text: _go(service, v, pid, "migrate", text), uid=owner),
        "mignodes": File(
            0o644,
            read=lambda _v: " ".join(map(str, sorted(processes.rules(pid).mignodes))) + "\n",
            write=lambda v, text: _set(service, v, pid, "mignodes", numbers("mignodes", text)),
            uid=owner,
        ),
    }
    return Fixed(files | {name: setting(name) for name in _PLAIN_SETTINGS})


def decay_directory(service: AdminService) -> Fixed:
    """`decay/`: how the statistics of the process that reads or writes decay."""
    processes = service.processes

    def kind(name: str) -> File:
        return File(
            0o666,
            read=lambda v: f"{int(processes.rules(process_facts.process_of(v.pid)).decay == name)}\n",
            write=lambda v, text: _set(service, v, v.pid, name, one(name, text)),
        )

    def flag(name: str) -> File:
        return File(
            0o666,
            read=lambda v: f"{int(getattr(processes.rules(process_facts.process_of(v.pid)), name))}\n",
            write=lambda v, text: _set(service, v, v.pid, name, one(name, text)),
        )

    def read_own(visitor: Visitor) -> str:
        rules = processes.rules(process_facts.process_of(visitor.pid))
        return f"{rules.own_rate} {rules.own_interval_s}\n" if rules.decay == "own" else "0\n"

    def clear(visitor: Visitor, text: str) -> None:
        must_be_one("clear", text)
        processes.check_owner(process_facts.process_of(visitor.pid), visitor.uid, visitor.is_admin)
        service.clear_statistics(process_facts.process_of(visitor.pid))

    files = {name: kind(name) for name in DECAY_TYPES if name != "own"}
    files |= {name: flag(name) for name in ("inherit", "exec", "execonce")}
    files["own"] = File(
        0o666,
        read=read_own,
        write=lambda v, text: _set(service, v, v.pid, "own", numbers("own", text, 2)),
    )
    files["clear"] = File(0o222, write=clear)
    return Fixed(files)


def remote_directory(service: AdminService) -> Numbered:
    """`remote/`: the guests present here."""
    migration = service.migration

    def guest_of(pid: int) -> GuestHere | None:
        return next((guest for guest in migration.guests() if guest.pid == pid), None)

    def make(pid: int) -> Fixed:
        guest = guest_of(pid)
        return Fixed({}) if guest is None else _guest(service, guest)

    return Numbered(lambda: [guest.pid for guest in migration.guests()], lambda pid: guest_of(pid) is not None, make)


def _guest(service: AdminService, guest: GuestHere) -> Fixed:
    def go(visitor: Visitor, text: str) -> None:
        to = _destination("goto", text)
        if not visitor.is_admin and visitor.uid != guest.uid:
            raise MosixError("permission", f"Permission denied: guest {guest.pid} belongs to another user.", 3)
        service.start_move_of_guest(guest.pid, to)

    return Fixed(
        {
            "from": File(0o444, read=lambda _v: f"{guest.home}\n"),
            "identity": File(0o444, read=lambda _v: identity_text(guest)),
            "stats": File(0o444, read=lambda _v: stats_text(guest.pid)),
            "statm": File(0o444, read=lambda _v: statm_text(guest.pid)),
            "goto": File(0o222, write=go),
        }
    )


def _set(service: AdminService, visitor: Visitor, pid: int, name: str, value: object) -> None:
    service.processes.set(process_facts.process_of(pid), name, value, visitor.uid, visitor.is_admin)


def _go(service: AdminService, visitor: Visitor, pid: int, name: str, text: str) -> None:
    to = _destination(name, text)
    service.processes.check_owner(pid, visitor.uid, visitor.is_admin)
    service.start_move(pid, to)


def _destination(name: str, text: str) -> Destination:
    node = one(name, text)
    if node == 0:
        return "home"
    if node == -1:
        return "balance"
    if not 1 <= node <= MAX_NODE:
        raise improper(name, "a node number, 0 (home) or -1 (balance) is expected")
    return node
