"""The verbs of administration, for the control socket and for other nodes.

Owns reading their arguments and nothing else: what they do is in the service. A verb with a `node` is passed
on to that node, which trusts the asking node to have checked that its user is an administrator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from omdiscd.admin.interfaces import Destination, Progress
from omdiscd.admin.nodes import FACTS_VERB, not_configured
from omdiscd.admin.service import AdminService
from omdiscd.control.registry import Caller, Registry
from omdiscd.core.admin import to_plain
from omdiscd.io.peer_server import PeerCaller, PeerRegistry
from omprotocol.errors import EXIT_NOT_FOUND, EXIT_USAGE, MosixError

REMOTE_SETTING_S = 10.0
REMOTE_EVACUATION_S = 3600.0
"""Emptying a node takes as long as its processes are large; the asker may leave sooner."""
PEER_VERB = "admin.do"

Action = Callable[[dict[str, Any], Progress], Awaitable[dict[str, Any]]]


class AdminVerbs:
    """Connects an AdminService with the registries."""

    def __init__(self, service: AdminService) -> None:
        self._service = service
        self._actions: dict[str, Action] = {
            "get": self._get,
            "set": self._set,
            "decay": self._decay,
            "expel": self._expel,
            "bring": self._bring,
            "drain": self._drain,
        }

    def register(self, registry: Registry, peers: PeerRegistry) -> None:
        """Add every verb. Raises ValueError when one is there already."""
        registry.add("admin.get", self._here_or_there("get"), "anyone")
        for name in ("set", "decay", "expel", "bring", "drain"):
            registry.add(f"admin.{name}", self._here_or_there(name), "admin")
        registry.add("node.facts", self._facts, "anyone")
        registry.add("node.isup", self._isup, "anyone")
        registry.add("node.table", self._table, "anyone")
        registry.add("node.whois", self._whois, "anyone")
        registry.add("process.get", self._process_get, "anyone")
        registry.add("process.set", self._process_set, "owner")
        registry.add("process.place", self._process_place, "owner")
        registry.add("process.list", self._process_list, "anyone")
        peers.add(FACTS_VERB, self._peer_facts)
        peers.add(PEER_VERB, self._peer_action)

    def _here_or_there(self, name: str) -> Callable[[Caller, dict[str, Any]], Awaitable[dict[str, Any]]]:
        action = self._actions[name]
        deadline_s = REMOTE_EVACUATION_S if name in ("expel", "bring", "drain") else REMOTE_SETTING_S

        async def handler(caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
            async def progress(body: dict[str, Any]) -> None:
                if caller.is_gone:
                    raise MosixError("interrupted", "Nobody waits any more: no further process is moved.")
                await caller.progress(body)

            node = whole(args, "node", 0)
            cluster = self._service.cluster
            if node in (0, cluster.own_node):
                return await action(args, progress)
            if cluster.address_of(node) is None:
                raise not_configured(node)
            passed_on = {key: value for key, value in args.items() if key != "node"}
            try:
                return await cluster.call(node, PEER_VERB, {"action": name, "args": passed_on}, deadline_s)
            finally:
                self._service.nodes.forget(node)

        return handler

    async def _get(self, _args: dict[str, Any], _progress: Progress) -> dict[str, Any]:
        service = self._service
        return {
            "node": service.cluster.own_node,
            "settings": to_plain(service.settings) | {"speed": service.speed},
            "measured_speed": service.measured_speed,
        }

    async def _set(self, args: dict[str, Any], _progress: Progress) -> dict[str, Any]:
        name = args.get("name")
        if not isinstance(name, str):
            raise MosixError("bad-request", "The name of a setting is missing.", EXIT_USAGE)
        return {"already": self._service.change(name, args.get("value"))}

    async def _decay(self, args: dict[str, Any], _progress: Progress) -> dict[str, Any]:
        return {"already": self._service.change_decay(args.get("interval"), args.get("slow"), args.get("fast"))}

    async def _expel(self, _args: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return {"moved": await self._service.expel(progress)}

    async def _bring(self, _args: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return {"moved": await self._service.bring(progress)}

    async def _drain(self, _args: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return {"moved": await self._service.drain(progress)}

    async def _facts(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        return dict(await self._service.nodes.shown(whole(args, "node", 0)))

    async def _isup(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        return {"up": await self._service.nodes.is_up(whole(args, "node", 0))}

    async def _table(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        service = self._service
        return {
            "node": service.cluster.own_node,
            "yardstick": service.settings.sspeed,
            "nodes": await service.nodes.table(),
        }

    async def _whois(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        cluster = self._service.cluster
        if "address" not in args:
            node = whole(args, "node", 0) or cluster.own_node
            if not node:
                raise MosixError("not-configured", "openMosix is not configured: this node has no number yet.")
            known = cluster.address_of(node)
            if known is None:
                raise not_configured(node)
            return {"node": node, "address": known}
        try:
            wanted = IPv4Address(str(args["address"]))
        except AddressValueError:
            raise MosixError("improper-value", f"{args['address']!r} is not an address", EXIT_USAGE) from None
        for number, address in cluster.nodes():
            if address == str(wanted):
                return {"node": number, "address": address}
        raise MosixError("no-such-node", f"Node at {wanted} is not configured", EXIT_NOT_FOUND)

    async def _process_get(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        return self._service.processes.facts(whole(args, "pid"))

    async def _process_set(self, caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        pid = whole(args, "pid", caller.pid) or caller.pid
        wanted = args.get("set")
        if not isinstance(wanted, dict) or not wanted or len(wanted) > 32:
            raise MosixError("bad-request", "What to set is missing.", EXIT_USAGE)
        for name, value in wanted.items():
            self._service.processes.set(pid, str(name), value, caller.uid, caller.is_admin)
        return self._service.processes.facts(pid)

    async def _process_place(self, caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        pid = whole(args, "pid", caller.pid) or caller.pid
        self._service.processes.check_owner(pid, caller.uid, caller.is_admin)
        to: Destination = "balance" if args.get("to") == "balance" else whole(args, "to")
        self._service.start_placement(pid, to)
        return {"pid": pid}

    async def _process_list(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        return {"processes": await self._service.processes.listing(args.get("cantmove") is True)}

    async def _peer_facts(self, _peer: PeerCaller, _args: dict[str, Any]) -> dict[str, Any]:
        return self._service.nodes.own_plain()

    async def _peer_action(self, _peer: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        action, inner = self._actions.get(str(args.get("action"))), args.get("args")
        if action is None or not isinstance(inner, dict):
            raise MosixError("bad-request", "This node does not know that order.", EXIT_USAGE)
        return await action(inner, _no_progress)


async def _no_progress(_body: dict[str, Any]) -> None:
    return None


def whole(args: dict[str, Any], name: str, default: int | None = None) -> int:
    """A whole number among the arguments. Raises MosixError `bad-request`."""
    value = args.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MosixError("bad-request", f"{name}: a whole number is expected.", EXIT_USAGE)
    return value
