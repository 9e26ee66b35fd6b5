"""Live facts for every open page: one question a second to the daemon, however many pages look.

Owns the last known cluster and the channels to the pages. A slow page gets the newest state of each topic and
never a queue of old ones. Asks nothing while no page is open.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from omprotocol.errors import MosixError
from openmosixview.control_client import ControlClient
from openmosixview.core.cluster_figures import cluster_figures

PERIOD_S = 1.0
MAX_PAGES = 32
"""Open pages of one view; more are asked to wait."""


class Page:
    """What one open page has not been told yet, newest only."""

    def __init__(self) -> None:
        self._news: dict[str, str] = {}
        self._wake = asyncio.Event()

    def tell(self, topic: str, body: str) -> None:
        """Replace what the page would be told of this topic."""
        self._news[topic] = body
        self._wake.set()

    async def news(self) -> dict[str, str]:
        """What is new by topic; waits until there is something."""
        await self._wake.wait()
        self._wake.clear()
        news, self._news = self._news, {}
        return news


class Live:
    """The topics all pages follow: `cluster`, and whatever else is told."""

    def __init__(self, client: ControlClient, period_s: float = PERIOD_S) -> None:
        self.cluster: dict[str, Any] = {"state": "loading", "message": "", "nodes": [], "all": None, "own_node": 0}
        self._client = client
        self._period_s = period_s
        self._pages: set[Page] = set()
        self._last: dict[str, str] = {}
        self._someone = asyncio.Event()
        self._now = asyncio.Event()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A page that follows all topics, told at once what is known. Raises MosixError `busy`."""
        if len(self._pages) >= MAX_PAGES:
            raise MosixError("busy", "Too many pages of this view are open: close some.")
        page = Page()
        for topic, body in self._last.items():
            page.tell(topic, body)
        self._pages.add(page)
        self._someone.set()
        try:
            yield page
        finally:
            self._pages.discard(page)
            if not self._pages:
                self._someone.clear()

    async def watched(self) -> None:
        """Return while, or as soon as, a page is open."""
        await self._someone.wait()

    def tell(self, topic: str, body: Any) -> None:
        """Tell all pages, if it is not what they know already."""
        text = json.dumps(body, separators=(",", ":"))
        if self._last.get(topic) != text:
            self._last[topic] = text
            for page in self._pages:
                page.tell(topic, text)

    def look_now(self) -> None:
        """Ask the daemon before the next second is over, because something was changed."""
        self._now.set()

    async def run(self) -> None:
        """Follow the cluster while somebody looks, until cancelled."""
        while True:
            await self.watched()
            self.tell("cluster", await self.look())
            self._now.clear()
            try:
                async with asyncio.timeout(self._period_s):
                    await self._now.wait()
            except TimeoutError:
                pass

    async def look(self) -> dict[str, Any]:
        """The cluster now. Without a daemon: the last known rows under a state that says so."""
        try:
            table = await self._client.request("node.table")
            states = await self._states()
        except MosixError as error:
            state = "no-daemon" if error.code in ("no-daemon", "bad-answer") else "failed"
            self.cluster = self.cluster | {"state": state, "message": error.message}
            return self.cluster
        figures = cluster_figures(table, states)
        state = "ok" if figures["own_node"] else "not-configured"
        message = "" if figures["own_node"] else "This node has no number in a cluster yet."
        self.cluster = {"state": state, "message": message} | figures
        return self.cluster

    async def _states(self) -> dict[int, str]:
        try:
            entries = (await self._client.request("showmap")).get("entries", [])
        except MosixError as error:
            if error.code != "unknown-verb":
                raise
            return {}
        words = {"self": "alive"}
        return {
            entry["node"]: words.get(str(entry.get("state")), str(entry.get("state"))[:16])
            for entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("node"), int) and entry.get("count") is not None
        }
