"""Addresses below /api/nodes: one node's settings, and the orders of the node window, for one node or for all.

Owns which settings a page may change. The daemon checks the order; for all nodes, every node answers for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from omprotocol.errors import MosixError
from openmosixview.core.cluster_figures import MAX_SPEED
from openmosixview.json_requests import bad, body_of, path_number, whole, word
from openmosixview.view import View

SWITCHES = ("stay", "lstay", "block", "quiet", "nomfs", "drain")
EVACUATIONS = ("expel", "bring", "drain")
EVACUATION_S = 3600.0
MAX_NODE = 65535
SAID = {
    ("stay", True): "automatic migration off",
    ("stay", False): "automatic migration on",
    ("lstay", True): "local processes stay",
    ("lstay", False): "local processes may leave",
    ("block", True): "guests are refused",
    ("block", False): "guests are welcome",
    ("quiet", True): "no talk to other nodes",
    ("quiet", False): "talks to other nodes",
    ("nomfs", True): "MFS off",
    ("nomfs", False): "MFS on",
    ("drain", False): "no longer draining",
}
DONE = {"expel": "guests sent away", "bring": "processes brought home", "drain": "drained"}


class NodeOrders:
    """Handlers of one view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/api/nodes/{node}", self._get)
        app.router.add_post("/api/nodes/{node}/set", self._set)
        app.router.add_post("/api/nodes/{node}/do", self._do)

    async def _get(self, request: web.Request) -> web.Response:
        node = path_number(request, "node", MAX_NODE)
        settings = await self._view.client.request("admin.get", {"node": node})
        return web.json_response(settings)

    async def _set(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        name = word(body, "name", (*SWITCHES, "speed"))
        value: Any = body.get("value")
        if name == "speed":
            value = None if value is None else whole(body, "value", 1, MAX_SPEED)
            said = "speed back to the measured one" if value is None else f"speed set to {value}"
        elif isinstance(value, bool):
            said = SAID.get((name, value), "draining")
        else:
            raise bad("value: true or false is expected.")

        async def order(node: int) -> dict[str, Any]:
            return await self._view.client.request("admin.set", {"node": node, "name": name, "value": value})

        return await self._for(request, said, order)

    async def _do(self, request: web.Request) -> web.Response:
        action = word(await body_of(request), "action", EVACUATIONS)

        async def order(node: int) -> dict[str, Any]:
            return await self._view.client.request(f"admin.{action}", {"node": node}, timeout_s=EVACUATION_S)

        return await self._for(request, DONE[action], order)

    async def _for(
        self, request: web.Request, said: str, order: Callable[[int], Awaitable[dict[str, Any]]]
    ) -> web.Response:
        """Order it of one node or of all that are up; one failure of many does not stop the others."""
        if request.match_info["node"] != "all":
            node = path_number(request, "node", MAX_NODE)
            try:
                result = await order(node)
            except MosixError as error:
                self._view.said(f"Node {node}: {error.message}", ok=False)
                raise
            moved = result.get("moved")
            count = f" ({moved})" if isinstance(moved, int) else ""
            self._view.said(f"Node {node}: {said}{count}")
            self._view.live.look_now()
            return web.json_response({"done": [node], "failed": {}})
        cluster = await self._view.live.look()
        if cluster["state"] != "ok":
            raise MosixError("no-daemon", cluster["message"])
        nodes = [row["node"] for row in cluster["nodes"] if row["up"]]
        done, failed = await _each(nodes, order)
        self._view.live.look_now()
        text = f"All nodes: {said} on {len(done)} of {len(nodes)}"
        if failed:
            first = next(iter(failed))
            text += f"; node {first}: {failed[first]}"
        self._view.said(text, ok=not failed)
        return web.json_response({"done": done, "failed": failed})


async def _each(
    nodes: list[int], order: Callable[[int], Awaitable[dict[str, Any]]]
) -> tuple[list[int], dict[int, str]]:
    done: list[int] = []
    failed: dict[int, str] = {}

    async def one(node: int) -> None:
        try:
            await order(node)
        except MosixError as error:
            failed[node] = error.message
        else:
            done.append(node)

    async with asyncio.TaskGroup() as tasks:
        for node in nodes:
            tasks.create_task(one(node))
    return sorted(done), dict(sorted(failed.items()))
