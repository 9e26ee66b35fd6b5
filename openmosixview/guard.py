"""What every request must pass before a handler sees it, and the headers every answer carries.

Owns the checks of Host, Origin, content type and session. A page of another origin, a rebound name or a stranger
on this machine gets no further than this file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from openmosixview.pages import PAGES
from openmosixview.sessions import Sessions

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
OPEN_PREFIXES = ("/static/",)
OPEN_PATHS = frozenset({"/metrics"})
"""Facts every local user may ask the daemon for; the Host is still checked."""
READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Guard:
    """The checks. `names`: host names this view answers to beside the loopback ones."""

    sessions: Sessions
    names: frozenset[str] = frozenset()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse, or pass on; every answer leaves with the security headers."""
        try:
            refusal = self.refusal(request)
            response = refusal if refusal is not None else await handler(request)
        except web.HTTPException as error:
            error.headers.update(_headers(request))
            raise
        if not response.prepared:
            response.headers.update(_headers(request))
        return response

    def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that must not go on, None for one that may."""
        host = request.headers.get("Host", "")
        if not self._answers_to(host):
            return _refused("This view does not answer to that host name.", 421)
        if not _is_same_origin(request, host):
            return _refused("Requests from other pages are refused.", 403)
        if request.method not in READING and request.content_type != "application/json":
            return _refused("Orders are JSON.", 415)
        if request.path.startswith(OPEN_PREFIXES) or request.path in OPEN_PATHS:
            return None
        if request.method == "GET" and "token" in request.query:
            return self._exchange(request)
        if not self.sessions.is_known(request.cookies.get(cookie_name(request), "")):
            return _locked(request)
        return None

    def _answers_to(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and "@" not in host and (name in LOOPBACK_NAMES or name in self.names)

    def _exchange(self, request: web.Request) -> web.Response:
        cookie = self.sessions.exchange(request.query["token"])
        if cookie is None:
            if self.sessions.is_known(request.cookies.get(cookie_name(request), "")):
                raise web.HTTPSeeOther(request.path if request.path in PAGES else "/")
            return _locked(request)
        # A page and not a redirect: a browser that came from elsewhere would not send a strict cookie along it.
        page = request.path if request.path in PAGES else "/"
        response = web.Response(
            text=f'<!doctype html><meta http-equiv="refresh" content="0;url={page}"><title>openMosixview</title>',
            content_type="text/html",
        )
        response.set_cookie(
            cookie_name(request), cookie, httponly=True, samesite="Strict", path="/", secure=request.secure
        )
        return response


def cookie_name(request: web.Request) -> str:
    """One name per port: cookies of one host name are shared by all its ports."""
    try:
        port = urlsplit(f"//{request.headers.get('Host', '')}").port
    except ValueError:
        port = None
    return f"openmosixview_{port or 0}"


def _is_same_origin(request: web.Request, host: str) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"{request.scheme}://{host}".lower():
        return False
    if request.method in READING:
        return True
    return origin is not None and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"


def _headers(request: web.Request) -> dict[str, str]:
    # Pages and facts are of this moment; the files of the page may be kept, but are asked for every time.
    return HEADERS | {"Cache-Control": "no-cache" if request.path.startswith(OPEN_PREFIXES) else "no-store"}


def _refused(text: str, status: int) -> web.Response:
    return web.json_response({"error": {"code": "refused", "message": text}}, status=status)


def _locked(request: web.Request) -> web.Response:
    text = "This view needs the address that it printed in its terminal; every address opens one browser, once."
    if request.path.startswith(("/api/", "/events")):
        return web.json_response({"error": {"code": "locked", "message": text}}, status=401)
    return web.Response(text=_LOCKED_PAGE, status=401, content_type="text/html")


_LOCKED_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Locked - openMosixview</title><link rel="stylesheet" href="/static/view.css"></head>
<body><main class="notice"><h1>This view is locked</h1>
<p>openMosixview prints an address with a token in the terminal where it was started. Open that address.</p>
<p>Every address opens one browser, once, within an hour. Press Enter in that terminal for a new one.</p>
</main></body></html>
"""
