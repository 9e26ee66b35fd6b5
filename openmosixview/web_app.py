"""The web application: the guard in front, the pages, the live events, and the orders.

Owns how they are put together. What an order does is in the file of its kind.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from omprotocol.errors import MosixError
from openmosixview.collector_orders import CollectorOrders
from openmosixview.guard import Guard, cookie_name
from openmosixview.json_requests import body_of, errors_as_json, path_number
from openmosixview.node_orders import NodeOrders
from openmosixview.pages import add_pages
from openmosixview.process_orders import ProcessOrders
from openmosixview.runs import mosrun_words
from openmosixview.version import VERSION
from openmosixview.view import View

BODY_BYTES = 64 << 10
"""Longest order."""
PING_S = 15.0
"""How often an open page hears that the view still lives when nothing changes."""


def make_app(view: View, names: frozenset[str] = frozenset()) -> web.Application:
    """The application of one view, which answers to loopback names and to `names`."""
    guard = Guard(view.sessions, names)
    app = web.Application(middlewares=[guard.middleware, errors_as_json], client_max_size=BODY_BYTES)
    add_pages(app)
    NodeOrders(view).add_to(app)
    ProcessOrders(view).add_to(app)
    CollectorOrders(view).add_to(app)
    _General(view).add_to(app)

    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        await view.start()
        yield
        await view.stop()

    app.cleanup_ctx.append(lifetime)
    return app


class _General:
    """Live events, the about box, and programs to run."""

    def __init__(self, view: View) -> None:
        self._view = view

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/events", self._events)
        app.router.add_get("/api/about", self._about)
        app.router.add_post("/api/exit", self._exit)
        app.router.add_get("/api/runs", self._runs)
        app.router.add_post("/api/runs", self._start)
        app.router.add_get("/api/runs/{number}", self._run)
        app.router.add_post("/api/runs/{number}/stop", self._stop)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        async with self._view.live.page() as page:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
            await response.prepare(request)
            try:
                while True:
                    try:
                        async with asyncio.timeout(PING_S):
                            news = await page.news()
                    except TimeoutError:
                        await response.write(b": alive\n\n")
                        continue
                    for topic, body in news.items():
                        await response.write(f"event: {topic}\ndata: {body}\n\n".encode())
            except ConnectionResetError:
                return response

    async def _about(self, _request: web.Request) -> web.Response:
        body: dict[str, Any] = {
            "version": VERSION,
            "host": socket.gethostname(),
            "user": self._view.user.name,
            "daemon": None,
        }
        try:
            status = await self._view.client.request("status")
            body["daemon"] = {name: status.get(name) for name in ("node", "version", "uptime_s", "key_fingerprint")}
        except MosixError as error:
            body["error"] = error.message
        return web.json_response(body)

    async def _exit(self, request: web.Request) -> web.Response:
        self._view.sessions.forget(request.cookies.get(cookie_name(request), ""))
        return web.json_response({})

    async def _runs(self, _request: web.Request) -> web.Response:
        return web.json_response({"runs": self._view.runs.listing()})

    async def _start(self, request: web.Request) -> web.Response:
        run = self._view.runs.start(mosrun_words(await body_of(request)))
        self._view.said(f"started {run.command}")
        return web.json_response(run.as_plain(with_output=True), status=201)

    async def _run(self, request: web.Request) -> web.Response:
        run = self._view.runs.get(path_number(request, "number", 10**9))
        return web.json_response(run.as_plain(with_output=True))

    async def _stop(self, request: web.Request) -> web.Response:
        self._view.runs.stop(path_number(request, "number", 10**9))
        return web.json_response({})
