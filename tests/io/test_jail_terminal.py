"""A guest that was a foreground job of a terminal, and its relay terminals on two nodes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.jail.jail import Jail
from tests.support.guest_lab import LIMIT_S, Guest, release, restore, tty_key

pytestmark = [pytest.mark.root, pytest.mark.criu]

FOREGROUND_JOB = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
go, ready = os.pipe()
if (child := os.fork()) == 0:
    os.setpgid(0, 0); os.read(go, 1)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
os.setpgid(child, child)
os.tcsetpgrp(int(os.environ["TTY"]), child)
os.write(ready, b"x")
os.waitpid(child, 0)
"""


class Terminal:
    """A pseudo-terminal pair."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made = [Terminal() for _ in range(3)]
    yield made
    for terminal in made:
        terminal.close()


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    (directory / "home").mkdir()
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", str(directory / "run"))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("uid", [0, 1000], ids=["root", "user"])
def test_the_relay_is_the_controlling_terminal(
    uid: int, room: Path, terminals: list[Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, first_relay, second_relay = terminals
    monkeypatch.setenv("TTY", str(home.slave))
    guest = Guest(room / "home", uid, FOREGROUND_JOB, tty=home.slave)
    jails: list[Jail] = []
    try:
        number = home.slave
        at_home = guest.ask(f"os.tcgetpgrp({number}), os.getpgid(0), os.isatty({number})")
        assert at_home == (guest.pid, guest.pid, True)
        guest.dump(room / "images", external=[tty_key(home.slave)])
        spec = guest.spec(room / "work", room / "images", ctty=True, foreground=True)
        first = Jail.start(spec, tty_slave_fd=first_relay.slave)
        jails.append(first)
        restore(first, guest, tty_keys=[tty_key(home.slave)])
        release(first)
        assert guest.ask(f"os.tcgetpgrp({number}), os.getpgid(0), os.isatty({number})") == at_home
        os.write(first_relay.master, b"typed\n")
        assert guest.ask(f"os.read({number}, 100)") == b"typed\n"
        os.write(first_relay.master, b"at once\n")
        assert guest.ask("open('/dev/tty').readline()") == "at once\n"

        first.freeze(LIMIT_S)
        first.send("dump", name="next", external=[tty_key(first_relay.slave)], timeout_s=60)
        done = first.wait_for("dumped", "dump-failed", timeout_s=LIMIT_S)
        assert done["ev"] == "dumped", done
        spec = guest.spec(room / "work2", room / "work" / "next", ctty=True, foreground=True)
        second = Jail.start(spec, tty_slave_fd=second_relay.slave)
        jails.append(second)
        restore(second, guest, tty_keys=[tty_key(first_relay.slave)])
        release(second)
        assert guest.ask(f"os.tcgetpgrp({number}), os.getpgid(0), os.isatty({number})") == at_home
        os.write(second_relay.master, b"again\n")
        assert guest.ask(f"os.read({number}, 100)") == b"again\n"
    finally:
        for jail in jails:
            assert jail.kill(LIMIT_S)
        guest.close()


def test_the_terminal_has_its_name_of_home(
    room: Path, terminals: list[Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = terminals[2]
    monkeypatch.setenv("TTY", str(home.slave))
    guest = Guest(room / "home", 1000, FOREGROUND_JOB, tty=home.slave)
    jails: list[Jail] = []
    try:
        name = os.ttyname(home.slave)
        guest.dump(room / "images", external=[tty_key(home.slave)])
        spec = guest.spec(
            room / "work",
            room / "images",
            ctty=True,
            foreground=True,
            tty_index=int(name.rpartition("/")[2]),
        )
        jail = Jail.start(spec)
        jails.append(jail)
        ready = jail.wait_for("ready", timeout_s=LIMIT_S)
        jail.send("restore", fds=guest.pipes(), keys=guest.keys, tty_keys=[tty_key(home.slave)])
        assert jail.wait_for("gate", "restore-failed", timeout_s=LIMIT_S)["ev"] == "gate"
        release(jail)
        assert guest.ask(f"os.ttyname({home.slave}), os.tcgetpgrp({home.slave})") == (name, guest.pid)
        assert jail.tty_master_fd is not None
        os.write(jail.tty_master_fd, b"typed\n")
        assert guest.ask(f"os.read({home.slave}, 100)") == b"typed\n"
        for wanted in (False, True):
            jail.send("foreground", value=wanted)
            jail.send("offsets")
            jail.wait_for("offsets", timeout_s=LIMIT_S)
            group = guest.pid if wanted else jail.spec.sid
            assert guest.ask(f"os.tcgetpgrp({home.slave})") == group
        jail.freeze(LIMIT_S)
        jail.send("dump", name="next", external=[ready["tty_key"]], timeout_s=60)
        done = jail.wait_for("dumped", "dump-failed", timeout_s=LIMIT_S)
        assert done["ev"] == "dumped", done
    finally:
        for jail in jails:
            assert jail.kill(LIMIT_S)
        guest.close()
