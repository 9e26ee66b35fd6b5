"""Addresses below /api/processes and /api/guests: lists, facts of one process, and what may be done to it.

Owns the joining of /proc with the daemon's facts. Migration and lock are judged by the daemon; signals and nice
values by the kernel, since they are sent as the user of the view.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from aiohttp import web

from omprotocol.errors import EXIT_NOT_FOUND, EXIT_REFUSED, MosixError
from openmosixview.core.process_page import MAX_ROWS, Wanted, page_of
from openmosixview.guests import guests_here, send_guest
from openmosixview.json_requests import bad, body_of, path_number, query_number, whole, word
from openmosixview.process_rows import ProcessRow, as_plain, same_process
from openmosixview.view import View

MAX_PID = 2**22
MAX_NODE = 65535
REASONS_S = 30.0
"""Looking for reasons reads much of /proc on a busy node."""
SIGNALS = {name: getattr(signal, name) for name in ("SIGTERM", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGHUP", "SIGINT")}


class ProcessOrders:
    """Handlers of one view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        router = app.router
        router.add_get("/api/processes", self._list)
        router.add_get("/api/away", self._away)
        router.add_get("/api/processes/{pid}", self._get)
        router.add_post("/api/processes/{pid}/migrate", self._migrate)
        router.add_post("/api/processes/{pid}/lock", self._lock)
        router.add_post("/api/processes/{pid}/renice", self._renice)
        router.add_post("/api/processes/{pid}/signal", self._signal)
        router.add_get("/api/guests", self._guests)
        router.add_post("/api/guests/{pid}/send", self._send_guest)

    async def rows(self, with_reasons: bool = False) -> tuple[list[ProcessRow], str]:
        """All processes of this node, and what is missing when the daemon does not answer."""
        try:
            args = {"cantmove": with_reasons}
            answer = await self._view.client.request("process.list", args, timeout_s=REASONS_S)
            listed = answer.get("processes", [])
            failure = ""
        except MosixError as error:
            listed, failure = [], error.message
        places = {row["pid"]: row for row in listed if isinstance(row, dict) and isinstance(row.get("pid"), int)}
        async with self._view.looking:
            return await asyncio.to_thread(self._view.look.rows, places), failure

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = Wanted(
            sort=query.get("sort", "cpu"),
            descending=query.get("down", "1") == "1",
            user=query.get("user", ""),
            text=query.get("text", "")[:200],
            node=int(query_number(request, "node", 0)) if query.get("node") else None,
            offset=int(query_number(request, "offset", 0)),
        )
        rows, failure = await self.rows(query.get("reasons") == "1")
        page, total = page_of(rows, wanted)
        body = {
            "rows": [as_plain(row) | {"why_not": self._view.user.why_not_process(row.uid)} for row in page],
            "total": total,
            "all": len(rows),
            "page": MAX_ROWS,
            "users": sorted({row.user for row in rows}),
            "away": sum(1 for row in rows if row.node),
            "failure": failure,
        }
        return web.json_response(body)

    async def _away(self, _request: web.Request) -> web.Response:
        """What migmon draws: those away, and the busiest of those at home."""
        rows, failure = await self.rows()
        away = [row for row in rows if row.node]
        home, total = page_of([row for row in rows if not row.node and _is_work(row)], Wanted())
        shown = [*away[:1000], *home[:40]]
        body = {
            "rows": [as_plain(row) | {"why_not": self._view.user.why_not_process(row.uid)} for row in shown],
            "hidden": total - len(home[:40]) + max(0, len(away) - 1000),
            "failure": failure,
        }
        return web.json_response(body)

    async def _get(self, request: web.Request) -> web.Response:
        pid = path_number(request, "pid", MAX_PID)
        rows, failure = await self.rows()
        row = next((row for row in rows if row.pid == pid), None)
        if row is None:
            raise MosixError("no-such-process", f"Process {pid} has ended.", EXIT_NOT_FOUND)
        body: dict[str, Any] = {"row": as_plain(row), "failure": failure}
        body["why_not"] = self._view.user.why_not_process(row.uid)
        body["facts"] = await self._asked("process.get", {"pid": pid})
        body["explain"] = await self._asked("explain", {"pid": pid})
        return web.json_response(body)

    async def _asked(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._view.client.request(verb, args)
        except MosixError as error:
            return {"error": error.to_wire()}

    async def _migrate(self, request: web.Request) -> web.Response:
        pid, body = await self._target(request)
        to = body.get("to")
        if to not in ("home", "balance"):
            to = whole(body, "to", 1, MAX_NODE)
            if to == self._view.live.cluster["own_node"]:
                to = "home"
        number = self._view.moves.start(pid, to, str(body.get("command", "")))
        return web.json_response({"id": number}, status=202)

    async def _lock(self, request: web.Request) -> web.Response:
        pid, body = await self._target(request)
        if not isinstance(body.get("value"), bool):
            raise bad("value: true or false is expected.")
        return await self._ordered(pid, f"{'locked' if body['value'] else 'unlocked'}", {"lock": int(body["value"])})

    async def _ordered(self, pid: int, said: str, settings: dict[str, Any]) -> web.Response:
        try:
            facts = await self._view.client.request("process.set", {"pid": pid, "set": settings})
        except MosixError as error:
            self._view.said(f"Process {pid}: {error.message}", ok=False)
            raise
        self._view.said(f"Process {pid}: {said}")
        return web.json_response(facts)

    async def _renice(self, request: web.Request) -> web.Response:
        pid, body = await self._target(request)
        nice = whole(body, "value", -20, 19)
        try:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
        except OSError as error:
            raise self._kernel_refused(pid, f"nice value {nice}", error) from None
        self._view.said(f"Process {pid}: nice value set to {nice}")
        return web.json_response({})

    async def _signal(self, request: web.Request) -> web.Response:
        pid, body = await self._target(request)
        name = word(body, "name", tuple(SIGNALS))
        try:
            fd = os.pidfd_open(pid)
            try:
                # Looked at again with the descriptor open: from here on the number cannot become another process.
                same_process(pid, body["start"])
                signal.pidfd_send_signal(fd, SIGNALS[name])
            finally:
                os.close(fd)
        except OSError as error:
            raise self._kernel_refused(pid, name, error) from None
        self._view.said(f"Process {pid}: {name} sent")
        return web.json_response({})

    def _kernel_refused(self, pid: int, what: str, error: OSError) -> MosixError:
        message = f"Process {pid}: {what} refused: {error.strerror}."
        self._view.said(message, ok=False)
        if isinstance(error, PermissionError):
            return MosixError("permission", message, EXIT_REFUSED)
        return MosixError("failed", message)

    async def _target(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        pid, body = path_number(request, "pid", MAX_PID), await body_of(request)
        same_process(pid, whole(body, "start", 0, 2**62))
        return pid, body

    async def _guests(self, _request: web.Request) -> web.Response:
        guests = await asyncio.to_thread(guests_here, self._view.paths.hpc_dir)
        for guest in guests:
            guest["why_not"] = self._view.user.why_not_process(guest["uid"])
        return web.json_response({"guests": guests})

    async def _send_guest(self, request: web.Request) -> web.Response:
        pid = path_number(request, "pid", MAX_PID)
        to = word(await body_of(request), "to", ("home", "balance"))
        try:
            await asyncio.to_thread(send_guest, self._view.paths.hpc_dir, pid, to)
        except MosixError as error:
            self._view.said(error.message, ok=False)
            raise
        self._view.said(f"Guest {pid}: asked to go {'home' if to == 'home' else 'where it is best'}")
        return web.json_response({})


def _is_work(row: ProcessRow) -> bool:
    """Whether somebody might want to move it: neither init, nor this view, nor a part of openMosix itself."""
    return row.pid not in (1, os.getpid()) and row.name != "omdiscd" and " -m migrated." not in row.command
