"""A view with a small control server of its own behind it, for tests without a daemon.

Owns the set-up only. The control server answers each verb from a table and remembers what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from omprotocol.errors import MosixError
from omprotocol.paths import Paths
from openmosixview.user import User
from openmosixview.view import View
from openmosixview.web_app import make_app

WAIT_S = 60
ADMIN = User(0, "root", True, "")
STRANGER = User(4242, "eva", False, "This needs root or the group openmosix; you are eva.")

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def node_row(node: int, **values: Any) -> dict[str, Any]:
    """A row of node.table for a node that is up: one CPU of the standard speed, 1000 bytes, 400 of them free."""
    row = {"node": node, "address": f"10.77.0.{node}", "up": True, "status": 3, "load": 0, "speed": 15000, "cpus": 1}
    return row | {"util": 100, "mem": 400, "rmem": 300, "tmem": 1000} | values


def down_row(node: int) -> dict[str, Any]:
    """A row of node.table for a silent node."""
    return {"node": node, "address": f"10.77.0.{node}", "up": False, "status": 1}


class FakeControl:
    """Answers by table; unknown verbs are refused as the daemon does it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.progress: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[str, Answer] = {
            "node.table": lambda _args: {
                "node": 1,
                "yardstick": 15000,
                "nodes": [node_row(1), node_row(2), down_row(3)],
            },
            "admin.set": lambda _args: {"already": False},
            "process.list": lambda _args: {"processes": []},
            "away": lambda _args: {"away": []},
            "migrate": lambda args: {"pid": args["pid"], "from": 1, "to": args["to"], "frozen_ms": 3.0},
        }

    def asked_for(self, verb: str) -> list[dict[str, Any]]:
        """The arguments of every request of this verb."""
        return [args for name, args in self.asked if name == verb]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while line := await reader.readline():
                request = json.loads(line)
                verb, args = request["verb"], request["args"]
                self.asked.append((verb, args))
                for body in self.progress.get(verb, []):
                    writer.write(json.dumps({"progress": body}).encode() + b"\n")
                writer.write(json.dumps(self._answer(verb, args)).encode() + b"\n")
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _answer(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        answer = self.answers.get(verb)
        try:
            if answer is None:
                raise MosixError("unknown-verb", f"The daemon knows no request '{verb}'.")
            return {"ok": True, "result": answer(args)}
        except MosixError as error:
            return {"ok": False, "error": error.to_wire()}


class ViewBench:
    """A served view; `client` has no session until `unlock` is called."""

    def __init__(self, view: View, client: TestClient[Any, Any], control: FakeControl) -> None:
        self.view = view
        self.client = client
        self.control = control

    @property
    def origin(self) -> str:
        """The origin of the view's own pages."""
        return str(self.client.make_url("/")).rstrip("/")

    async def unlock(self) -> None:
        """Open the printed address."""
        answer = await self.client.get("/", params={"token": self.view.sessions.new_token()})
        assert answer.status == 200

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON of an address."""
        answer = await self.client.get(path)
        body: dict[str, Any] = await answer.json()
        assert answer.status == 200, body
        return body

    async def order(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an order as a page of the view sends it."""
        answer = await self.client.post(path, json=body, headers={"Origin": self.origin} | headers)
        return answer.status, await answer.json()


@contextlib.asynccontextmanager
async def view_bench(base: Path, user: User = ADMIN, mosrun: list[str] | None = None) -> AsyncIterator[ViewBench]:
    """Serve a view and its control server below `base`."""
    paths = Paths(base / "run", base / "state", base / "etc")
    paths.run_dir.mkdir()
    control = FakeControl()
    server = await asyncio.start_unix_server(control.serve, str(paths.control_socket))
    view = View(paths, base / "collector", user, mosrun, period_s=0.02)
    try:
        async with asyncio.timeout(WAIT_S), TestClient(TestServer(make_app(view))) as client:
            yield ViewBench(view, client, control)
    finally:
        server.close()
        await server.wait_closed()
