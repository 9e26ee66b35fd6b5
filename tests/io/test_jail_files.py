"""A guest whose root is its home's files: the jail, the file server and the pump together."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.jail.jail import Jail
from migrated.mfs.mount import open_device
from migrated.mfs.processes import fork_pump, fork_server
from migrated.mfs.session import Credentials
from migrated.mfs.view import View
from tests.support.guest_lab import LIMIT_S, Guest, release, restore

pytestmark = [pytest.mark.root, pytest.mark.criu, pytest.mark.fuse]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    (directory / "home").mkdir()
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", str(directory / "run"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=[0, 1000], ids=["root", "user"])
def guest(request: pytest.FixtureRequest, room: Path) -> Iterator[Guest]:
    program = Guest(room / "home", request.param)
    yield program
    program.close()


class Node:
    """A jail on home's files, with the two processes that carry them."""

    def __init__(self, guest: Guest, work: Path, images: Path) -> None:
        credentials = Credentials(guest.uid, guest.uid, (guest.uid, 44)) if guest.uid else None
        home_end, guest_end = socket.socketpair()
        self.server = fork_server(home_end, View(credentials=credentials))
        home_end.close()
        device = open_device()
        self.jail = Jail.start(guest.spec(work, images, root="mfs"), fuse_fd=device)
        self.jail.wait_mounted(LIMIT_S)
        self.pump = fork_pump(device, guest_end)
        os.close(device)
        guest_end.close()

    def close(self) -> None:
        assert self.jail.kill(LIMIT_S)
        for pid in (self.pump, self.server):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(pid, 0)


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    running: list[Node] = []
    yield running
    for node in running:
        node.close()


def test_the_guest_works_on_home_s_files_on_two_nodes(guest: Guest, room: Path, nodes: list[Node]) -> None:
    guest.dump(room / "images")
    nodes.append(Node(guest, room / "work", room / "images"))
    restore(nodes[0].jail, guest)
    release(nodes[0].jail)
    guest.say("log on the first node")
    guest.answer()
    assert guest.log.read_text() == "on the first node\n"
    assert guest.ask("sane()") is True
    assert guest.ask("open('/proc/self/mounts').read().split()[:3]") == ["openmosix", "/", "fuse.mosix"]
    names = ".om fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert guest.ask("sorted(os.listdir('/dev'))") == names.split()
    if guest.uid:
        assert guest.ask("os.access('/dev/.om/private', os.R_OK)") is False
    nodes[0].jail.freeze(LIMIT_S)
    nodes[0].jail.send("dump", name="next", timeout_s=60)
    done = nodes[0].jail.wait_for("dumped", "dump-failed", timeout_s=LIMIT_S)
    assert done["ev"] == "dumped", done
    nodes.append(Node(guest, room / "work2", room / "work" / "next"))
    restore(nodes[1].jail, guest)
    release(nodes[1].jail)
    guest.say("log on the second node")
    guest.answer()
    assert guest.log.read_text() == "on the first node\non the second node\n"
    assert guest.ask("sane()") is True


def test_a_guest_without_its_home_can_be_killed(guest: Guest, room: Path, nodes: list[Node]) -> None:
    guest.dump(room / "images")
    nodes.append(Node(guest, room / "work", room / "images"))
    restore(nodes[0].jail, guest)
    release(nodes[0].jail)
    os.kill(nodes[0].server, signal.SIGSTOP)
    guest.say("eval os.listdir('/usr/lib/nothing-of-this-name')")  # waits for an answer that does not come
    os.kill(nodes[0].pump, signal.SIGKILL)
    assert nodes[0].jail.kill(LIMIT_S)
