"""Opening a place for a body on a node: the offer, the connections, the file server, the page stream.

Shared by the first departure and by going on from guest to guest.  Nothing here touches the original.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from migrated.mfs.server import serve
from migrated.mfs.session import Credentials
from migrated.mfs.view import View
from migrated.shim.children import Child, fork_child
from migrated.shim.fault_points import fault_point_blocking
from migrated.shim.home_state import Destination, HomeState, Residence
from migrated.shim.link import connect
from migrated.shim.messages import Hello
from migrated.shim.streams import dial, join
from omprotocol.errors import MosixError
from omprotocol.peer import call

OFFER_TIMEOUT_S = 10.0


async def open_residence(
    shim: HomeState, destination: Destination, root: str = "mfs", pages_from: int = 0
) -> Residence:
    """Ask the node to take the process, and connect to the guest shim it starts.

    `pages_from` is the node that will send the memory, 0 for this one.
    Raises MosixError as the node refuses, PeerUnreachable, PeerRefused; nothing stays open then.
    """
    assert shim.survey is not None
    facts = shim.survey.facts
    hello = Hello(migration_id=secrets.token_hex(16), token=secrets.token_hex(16))
    offer = {
        "migration_id": hello.migration_id,
        "token": hello.token,
        "root": root,
        "pages_from": pages_from or shim.spec.node,
        "pid": facts.pid,
        "uid": facts.uid,
        "command": facts.comm,
        "rss_bytes": facts.rss_bytes,
        "hints": shim.hints,
    }
    answer = await call(
        destination.address,
        destination.port,
        shim.identity,
        destination.node,
        "guest-offer",
        offer,
        timeout_s=OFFER_TIMEOUT_S,
    )
    ports = _ports(answer)
    link = await connect(destination.address, ports["control"], shim.identity, destination.node, hello)
    server: Child | None = None
    if root == "mfs":
        server = fork_child("files", {shim.claim.fd}, lambda: _serve_files(shim, destination, ports["files"], hello))
    return Residence(
        destination=destination,
        migration_id=hello.migration_id,
        token=hello.token,
        link=link,
        file_server=server,
        pages_port=ports["pages"],
        files_port=ports["files"],
    )


def stream_pages(shim: HomeState, residence: Residence, local: socket.socket) -> Child:
    """Fork the process that carries CRIU's page stream from `local` to the guest's node; closes `local` here."""
    destination = residence.destination
    hello = Hello(migration_id=residence.migration_id, token=residence.token)

    def carry() -> int:
        fault_point_blocking(shim.spec.run_dir, "home-pages")
        remote = dial(destination.address, residence.pages_port, shim.identity, destination.node, hello)
        join(local, remote)
        remote.close()
        return 0

    child = fork_child("pages", {local.fileno()}, carry)
    local.close()
    return child


def close_residence(residence: Residence) -> None:
    """Drop the connections and the file server: from now on nothing of this epoch has any effect at home."""
    if residence.file_server is not None:
        residence.file_server.kill()
    residence.link.close()


def read_images(directory: Path) -> dict[str, bytes]:
    """The small images of a dump whose pages went elsewhere, by file name."""
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.img"))}


def clear_directory(directory: Path) -> None:
    """Remove `directory` with its files; quiet when there is nothing."""
    with contextlib.suppress(FileNotFoundError):
        for path in list(directory.iterdir()):
            path.unlink()
        os.rmdir(directory)


def _serve_files(shim: HomeState, destination: Destination, port: int, hello: Hello) -> int:
    assert shim.survey is not None
    facts = shim.survey.facts
    stream = dial(destination.address, port, shim.identity, destination.node, hello)
    view = View(pid=facts.pid, credentials=Credentials(facts.uid, facts.gid, facts.groups))
    serve(stream, view, before_change=shim.claim.effect)
    return 0


def _ports(answer: dict[str, Any]) -> dict[str, int]:
    ports = {name: answer.get(name) for name in ("control", "pages", "files")}
    checked = {name: port for name, port in ports.items() if isinstance(port, int) and 0 < port < 65536}
    if len(checked) != len(ports):
        raise MosixError("bad-message", "The other node answered the offer with no usable ports.")
    return checked
