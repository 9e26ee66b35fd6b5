"""The commands openmosixview, openmosixprocs, openmosixanalyzer, openmosixhistory and openmosixmigmon.

Owns serving one view until interrupted: where it listens, the address it prints, new addresses on Enter. Each
command is the same view opened at another page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from omprotocol.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, MosixError
from omprotocol.paths import Paths
from openmosixview.collector.control import default_directory
from openmosixview.command_line import parser_for, run_command
from openmosixview.view import View
from openmosixview.web_app import make_app

PORT = 8334
"""Tried first; another free one is taken when it is in use."""
CLOSE_S = 2.0
SUMMARIES = {
    "openmosixview": ("/", "See and steer the cluster in a browser."),
    "openmosixprocs": ("/processes", "See and move the processes of this node in a browser."),
    "openmosixanalyzer": ("/analyzer", "See load and memory of the cluster over the collected time in a browser."),
    "openmosixhistory": ("/history", "See which processes ran at a past moment in a browser."),
    "openmosixmigmon": ("/migmon", "See processes at their nodes as a picture, and drag them, in a browser."),
}


def view_main(arguments: Sequence[str] | None = None) -> int:
    """openmosixview; returns its exit status."""
    return _main("openmosixview", arguments)


def procs_main(arguments: Sequence[str] | None = None) -> int:
    """openmosixprocs; returns its exit status."""
    return _main("openmosixprocs", arguments)


def analyzer_main(arguments: Sequence[str] | None = None) -> int:
    """openmosixanalyzer; returns its exit status."""
    return _main("openmosixanalyzer", arguments)


def history_main(arguments: Sequence[str] | None = None) -> int:
    """openmosixhistory; returns its exit status."""
    return _main("openmosixhistory", arguments)


def migmon_main(arguments: Sequence[str] | None = None) -> int:
    """openmosixmigmon; returns its exit status."""
    return _main("openmosixmigmon", arguments)


def parser(program: str) -> ArgumentParser:
    """The options of one of the commands."""
    made = parser_for(
        program,
        SUMMARIES[program][1],
        f"""{program}                       serve on this machine, open a browser
           {program} --no-browser          only print the address
           ssh -L {PORT}:127.0.0.1:{PORT} NODE {program} --no-browser     from another machine""",
    )
    made.add_argument("--port", type=int, help=f"port to listen on (default {PORT}, or another one when it is taken)")
    made.add_argument("--no-browser", action="store_true", help="do not open a browser")
    made.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (needs TLS)")
    made.add_argument("--name", action="append", default=[], help="a host name this view answers to, may be repeated")
    made.add_argument("--certificate", type=Path, help="TLS certificate (PEM), with its chain")
    made.add_argument("--private-key", type=Path, help="its key (PEM)")
    made.add_argument("--collector-directory", type=Path, help="where the collector keeps its history")
    return made


def _main(program: str, arguments: Sequence[str] | None) -> int:
    return run_command(program, lambda words: _serve(program, parser(program).parse_args(words)), arguments)


def _serve(program: str, options: Namespace) -> int:
    tls = _tls(options)
    listener = _listen(options)
    try:
        asyncio.run(_serve_until_signalled(program, options, listener, tls))
    finally:
        listener.close()
    return EXIT_OK


def _tls(options: Namespace) -> ssl.SSLContext | None:
    if options.certificate is None:
        try:
            is_local = ip_address(options.listen).is_loopback
        except ValueError:
            raise MosixError("usage", f"--listen: {options.listen!r} is not an address", EXIT_USAGE) from None
        if not is_local:
            message = "Other machines are served by TLS only: give --certificate and --private-key, or use ssh -L."
            raise MosixError("usage", message, EXIT_USAGE)
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.certificate, options.private_key)
    except (OSError, ssl.SSLError) as error:
        raise MosixError("tls", f"The certificate cannot be used: {error}.", EXIT_FAILED) from None
    return context


def _listen(options: Namespace) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.listen else socket.AF_INET
    ports = [options.port] if options.port is not None else [PORT, 0]
    failure = OSError("no port")
    for port in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((options.listen, port))
            listener.listen(64)
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            failure = error if isinstance(error, OSError) else OSError(str(error))
    raise MosixError("listen", f"Cannot listen on {options.listen}: {failure.strerror or failure}.", EXIT_FAILED)


async def _serve_until_signalled(
    program: str, options: Namespace, listener: socket.socket, tls: ssl.SSLContext | None
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    paths = Paths.from_environment()
    view = View(paths, (options.collector_directory or default_directory(paths)).absolute())
    runner = web.AppRunner(make_app(view, frozenset(options.name)), access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=tls).start()
        base = _base(options, listener, tls)

        def address() -> str:
            return f"{base}{SUMMARIES[program][0]}?token={view.sessions.new_token()}"

        first = address()
        print(f"{program}: open {first}", flush=True)
        if sys.stdin.isatty():
            print("Press Enter for another address, Ctrl-C to end.", flush=True)
            loop.add_reader(0, _on_enter, loop, address)
        with tempfile.TemporaryDirectory(prefix="openmosixview-") as directory:
            if not options.no_browser:
                await asyncio.to_thread(_open_browser, first, Path(directory))
            await ended.wait()
    finally:
        await runner.cleanup()


def _base(options: Namespace, listener: socket.socket, tls: ssl.SSLContext | None) -> str:
    host, port = listener.getsockname()[:2]
    host = options.name[0] if options.name else f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{host}:{port}"


def _on_enter(loop: asyncio.AbstractEventLoop, address: object) -> None:
    if os.read(0, 4096):
        print(address(), flush=True)  # type: ignore[operator]
    else:
        loop.remove_reader(0)


def _open_browser(address: str, directory: Path) -> None:
    """Open a browser where there is a screen for one. Root's browser is not opened: it is nobody's daily one.

    Other users see the arguments of every process: the browser is given a file of `directory`, which only its owner
    reads, that leads to the address.
    """
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opener = shutil.which("xdg-open")
    if not has_screen or opener is None or os.geteuid() == 0:
        return
    page = directory / "open.html"
    page.touch(0o600)
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={address}"><title>openMosixview</title>')
    with contextlib.suppress(OSError):
        subprocess.Popen(
            [opener, str(page)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


if __name__ == "__main__":
    sys.exit(view_main())
