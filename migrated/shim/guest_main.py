"""Start of a guest shim: `python -m migrated.shim.guest_main`, its specification as JSON on standard input.

Opens three listeners on this node's cluster address (control, pages, files), says their ports as one JSON line on
standard output, forks the page receiver and the file pump, and then is the guest shim until the guest is gone.
What became of the guest stays readable under the run directory for home to ask (`guest-fate`).
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import msgspec

from migrated.criu.page_server import start_page_server
from migrated.known import write_guest
from migrated.mfs.pump import pump
from migrated.shim.children import Child, fork_child
from migrated.shim.guest_files import Files
from migrated.shim.guest_shim import GuestShim
from migrated.shim.guest_spec import GuestSpec
from migrated.shim.link import Link, introduced
from migrated.shim.logs import log_to_syslog
from migrated.shim.messages import Hello
from migrated.shim.streams import answer, join, tune
from omprotocol.certificates import Identity, server_context
from omprotocol.cluster_key import load
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
CONNECT_TIMEOUT_S = 30.0
PAGES_TIMEOUT_S = 120.0
NEVER_RAN, RAN = "never-ran", "ran"


def main() -> int:
    """Run one guest shim to its end."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=GuestSpec)
    for signo in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signo, _not_now)  # not ignored: that would be inherited by CRIU, which ends its own by SIGTERM
    os.umask(0o077)
    log_to_syslog("omdiscd-guest")
    directory = Path(spec.run_dir) / "guests" / spec.migration_id
    (directory / "images").mkdir(mode=0o700, parents=True)
    identity = Identity.create(load(Path(spec.etc_dir) / "cluster.key"), spec.node)
    listeners = {name: _listen(spec.address, spec.ports) for name in ("control", "pages", "files")}
    hello = Hello(migration_id=spec.migration_id, token=spec.token)
    fuse_fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC) if spec.root == "mfs" else None
    pages = fork_child(
        "pages",
        {listeners["pages"].fileno()},
        lambda: _receive_pages(spec, identity, hello, listeners["pages"], directory),
    )
    carrier: Child | None = None
    tell_mounted = -1
    if fuse_fd is not None:
        files, fuse = listeners["files"], fuse_fd
        mounted, tell_mounted = os.pipe()
        keep = {files.fileno(), fuse, mounted}
        carrier = fork_child("files", keep, lambda: _carry_files(spec, identity, hello, files, fuse, mounted))
        os.close(mounted)
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    for name in ("pages", "files"):
        listeners[name].close()
    write_guest(directory, spec, os.getpid(), 0)
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    try:
        asyncio.run(
            _serve(spec, identity, hello, listeners["control"], directory, Files(fuse_fd, carrier, tell_mounted), pages)
        )
    finally:
        fate = RAN if (directory / "ran").exists() else NEVER_RAN
        directory.with_suffix(".fate").write_text(fate)
        shutil.rmtree(directory, ignore_errors=True)
    return 0


async def _serve(
    spec: GuestSpec,
    identity: Identity,
    hello: Hello,
    listener: socket.socket,
    directory: Path,
    files: Files,
    pages: Child,
) -> None:
    link = await _accept_home(spec, identity, hello, listener)
    if link is None:
        files.end()
        pages.kill()
        return
    await GuestShim(spec, identity, directory, link, files, pages).run()


async def _accept_home(spec: GuestSpec, identity: Identity, hello: Hello, listener: socket.socket) -> Link | None:
    """The control connection of the home shim, or None when it does not come in time."""
    arrived: asyncio.Queue[Link] = asyncio.Queue(1)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tune(writer.get_extra_info("socket"))
        link = Link(reader, writer)
        if arrived.empty() and await introduced(link, spec.home, hello):
            arrived.put_nowait(link)
        else:
            link.close()

    server = await asyncio.start_server(accepted, sock=listener, ssl=server_context(identity))
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await arrived.get()
    except TimeoutError:
        _log.warning("guest.home_never_came", extra={"home": spec.home, "pid": spec.pid})
        return None
    finally:
        server.close()


def _receive_pages(spec: GuestSpec, identity: Identity, hello: Hello, listener: socket.socket, directory: Path) -> int:
    stream = answer(listener, identity, spec.pages_from, hello, PAGES_TIMEOUT_S)
    ours, theirs = socket.socketpair()
    server = start_page_server(str(directory / "images"), theirs.fileno())
    theirs.close()
    join(ours, stream)
    ours.close()
    stream.close()
    try:
        server.wait(CONNECT_TIMEOUT_S)
    except MosixError as error:
        _log.warning("guest.pages_lost", extra={"pid": spec.pid, "why": str(error)})
        return 1
    return 0


def _carry_files(
    spec: GuestSpec, identity: Identity, hello: Hello, listener: socket.socket, fuse_fd: int, mounted: int
) -> int:
    stream = answer(listener, identity, spec.home, hello, CONNECT_TIMEOUT_S)
    listener.close()
    if not os.read(mounted, 1):
        return 0
    os.close(mounted)
    end = pump(fuse_fd, stream, stall_s=None)  # how long home may be silent is the lease's business
    _log.info("guest.files_end", extra={"pid": spec.pid, "why": end.reason.value, "requests": end.requests})
    return 0


def _listen(address: str, ports: tuple[int, int]) -> socket.socket:
    """A listener on a free port of the range.  Raises MosixError when all are taken."""
    first, last = ports
    start = os.getpid() % (last - first + 1)
    for step in range(last - first + 1):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of earlier guests may linger
        try:
            listener.bind((address, first + (start + step) % (last - first + 1)))
            listener.listen(8)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return listener
    raise MosixError("no-port", f"All TCP ports from {first} to {last} are taken by guests.")


def _not_now(_signo: int, _frame: object) -> None:
    """A shim ends with its process, not when it is told to."""


if __name__ == "__main__":
    sys.exit(main())
