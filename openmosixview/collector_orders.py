"""Addresses of the collector and of what it collected: lamp, orders, series, moments, exports, metrics.

Owns the way from a history to the pages. Every question opens the history anew, in a thread: the collector is
another process and may save or stop at any moment.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from openmosixview.collector import reading
from openmosixview.collector.schema import open_history
from openmosixview.core.metrics_text import metrics_text
from openmosixview.json_requests import body_of, query_number, word
from openmosixview.view import View

T = TypeVar("T")
ORDERS = ("start", "stop", "checkpoint", "save")


class CollectorOrders:
    """Handlers of one view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_post("/api/collector", self._order)
        app.router.add_get("/api/history", self._span)
        app.router.add_get("/api/history/series", self._series)
        app.router.add_get("/api/history/moments", self._moments)
        app.router.add_get("/api/history/processes", self._processes)
        app.router.add_get("/api/history/export.csv", self._csv)
        app.router.add_get("/api/history/export.json", self._json)
        app.router.add_get("/metrics", self._metrics)

    async def _order(self, request: web.Request) -> web.Response:
        body, collector = await body_of(request), self._view.collector
        order = word(body, "order", ORDERS)
        text = str(body.get("text", ""))[:80]
        orders: dict[str, Callable[[], str]] = {
            "start": collector.start,
            "stop": collector.stop,
            "checkpoint": lambda: collector.checkpoint(text),
            "save": collector.save,
        }
        try:
            said = await asyncio.to_thread(orders[order])
        except MosixError as error:
            self._view.said(error.message, ok=False)
            raise
        self._view.said(said)
        self._view.live.tell("collector", await asyncio.to_thread(collector.state))
        return web.json_response({"said": said})

    async def _span(self, request: web.Request) -> web.Response:
        def ask(connection: sqlite3.Connection) -> dict[str, Any]:
            return {"span": reading.span(connection), "nodes": reading.node_facts(connection), "now": time.time()}

        try:
            body = await self._asked(request, ask)
        except MosixError as error:
            body = {"span": None, "nodes": {}, "now": time.time(), "why": error.message, "code": error.code}
        return web.json_response(body | {"saved": self._view.collector.saved()})

    async def _series(self, request: web.Request) -> web.Response:
        start, end = _range(request)

        def ask(connection: sqlite3.Connection) -> dict[str, Any]:
            return reading.series(connection, start, end) | reading.events(connection, start, end)

        return web.json_response(await self._asked(request, ask))

    async def _moments(self, request: web.Request) -> web.Response:
        return web.json_response({"moments": await self._asked(request, reading.moments)})

    async def _processes(self, request: web.Request) -> web.Response:
        t = int(query_number(request, "t", 2**40))
        return web.json_response(await self._asked(request, lambda connection: reading.processes_at(connection, t)))

    async def _csv(self, request: web.Request) -> web.Response:
        start, end = _range(request)
        text = await self._asked(request, lambda connection: "".join(reading.as_csv(connection, start, end)))
        return web.Response(text=text, content_type="text/csv", headers=_attachment("csv"))

    async def _json(self, request: web.Request) -> web.Response:
        start, end = _range(request)
        body = await self._asked(request, lambda connection: reading.as_json(connection, start, end))
        return web.json_response(body, headers=_attachment("json"))

    async def _metrics(self, _request: web.Request) -> web.Response:
        cluster = await self._view.live.look()
        away = await self._count("away", "away")
        guests = await self._count("guests", "guests")
        return web.Response(text=metrics_text(cluster, away, guests), content_type="text/plain", charset="utf-8")

    async def _count(self, verb: str, name: str) -> int | None:
        try:
            listed = (await self._view.client.request(verb)).get(name)
        except MosixError:
            return None
        return len(listed) if isinstance(listed, list) else None

    async def _asked(self, request: web.Request, ask: Callable[[sqlite3.Connection], T]) -> T:
        path = self._view.collector.history_named(request.query.get("history", ""))

        def answer() -> T:
            connection = open_history(path)
            try:
                return ask(connection)
            except sqlite3.Error as error:
                raise MosixError("history", f"The history cannot be read: {error}.", EXIT_NOT_FOUND) from None
            finally:
                connection.close()

        return await asyncio.to_thread(answer)


def _range(request: web.Request) -> tuple[int, int]:
    now = int(time.time())
    start, end = int(query_number(request, "from", now - 3600)), int(query_number(request, "to", now))
    return min(start, end), max(start, end)


def _attachment(kind: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="openmosix-history.{kind}"'}
