"""The pages of the view and the files they are made of.

Owns the table from address to page. Files are served as they are; nothing is generated from what others said.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"
PAGES = {
    "/": "main.html",
    "/processes": "processes.html",
    "/migmon": "migmon.html",
    "/analyzer": "analyzer.html",
    "/history": "history.html",
    "/help": "help.html",
}


def add_pages(app: web.Application) -> None:
    """Routes of all pages and of the files below /static/."""
    for path, name in PAGES.items():
        app.router.add_get(path, _page(name))
    app.router.add_static("/static/", STATIC)


def _page(name: str):  # type: ignore[no-untyped-def]
    async def handler(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(STATIC / name)

    return handler
