"""Real guests: dumped, restored in jails, watched, dumped again. Needs root, namespaces and CRIU."""

import base64
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.jail.jail import Jail
from migrated.jail.kernel import user_siginfo
from tests.support.guest_lab import LIMIT_S, Guest, release, restore, until

pytestmark = [pytest.mark.root, pytest.mark.criu]

# Each gives the program (argv[1:]) another place among its relatives. The first process leads a session.
_RUN = "import os, sys; run = lambda: os.execv(sys.argv[1], sys.argv[1:])\n"
SHAPES = {
    "leads its session": None,
    "job of a shell": _RUN
    + """
if (child := os.fork()) == 0:
    os.setpgid(0, 0); run()
os.waitpid(child, 0)
""",
    "in the group of a script": _RUN
    + """
if (script := os.fork()) == 0:
    os.setpgid(0, 0)
    if (child := os.fork()) == 0:
        run()
    os.waitpid(child, 0); os._exit(0)
os.waitpid(script, 0)
""",
    "second in a pipeline": _RUN
    + """
gone, alive = os.pipe()
if (first := os.fork()) == 0:
    os.setpgid(0, 0); os.close(alive); os.read(gone, 1); os._exit(0)
os.setpgid(first, first)
if (child := os.fork()) == 0:
    os.setpgid(0, first); os.close(alive); run()
os.waitpid(child, 0)
""",
    "orphan in a living session": _RUN
    + """
gone, alive = os.pipe()
if (between := os.fork()) == 0:
    if os.fork() == 0:
        os.close(alive); os.setpgid(0, 0); os.set_inheritable(gone, False); run()
    os._exit(0)
os.waitpid(between, 0)
import signal
signal.pause()
""",
    "daemon that leads its session": _RUN
    + """
if os.fork() == 0:
    os.setsid(); run()
""",
    "daemon": _RUN
    + """
if os.fork() == 0:
    run()
""",
}


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openmosix")


@pytest.fixture
def room(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory every uid can reach."""
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", str(run_dir))
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    (directory / "home").mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=[0, 1000], ids=["root", "user"])
def guest(request: pytest.FixtureRequest, room: Path) -> Iterator[Guest]:
    program = Guest(room / "home", request.param)
    yield program
    program.close()


@pytest.fixture
def jails() -> Iterator[list[Jail]]:
    running: list[Jail] = []
    yield running
    for jail in running:
        assert jail.kill(LIMIT_S)


def started(guest: Guest, room: Path, jails: list[Jail], **facts: object) -> Jail:
    guest.dump(room / "images", streamed=True)
    jail = Jail.start(guest.spec(room / "work", room / "images", **facts))
    jails.append(jail)
    return jail


@pytest.mark.parametrize("uid", [0, 1000], ids=["root", "user"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ids_are_as_at_home(shape: str, uid: int, room: Path, jails: list[Jail]) -> None:
    guest = Guest(room / "home", uid, SHAPES[shape])
    try:
        if "daemon" in shape or "orphan" in shape:
            until(lambda: guest.ask("os.getppid()") == 1)
        at_home = guest.ask("ids()")
        jail = started(guest, room, jails)
        restore(jail, guest)
        release(jail)
        assert guest.ask("ids()") == at_home | {"host": "home-of-the-guest"}
        assert guest.ask("sane()") is True
        guest.say("exit 9")
        assert jail.wait_for("exit", timeout_s=LIMIT_S)["status"] == 9
    finally:
        guest.close()


def test_nothing_runs_before_go_and_a_refusal_leaves_the_original(guest: Guest, room: Path, jails: list[Jail]) -> None:
    jail = started(guest, room, jails)
    before = guest.beat()
    restore(jail, guest)
    inside = jail.host_pids()
    assert guest.pid in inside
    assert guest.beat() == before
    jail.send("refuse")
    assert jail.wait_for("refused", "restored", timeout_s=LIMIT_S)["ev"] == "refused"
    assert jail.kill(LIMIT_S)
    assert guest.beat() == before
    guest.cgroup.thaw()
    assert guest.ask("sane()") is True
    until(lambda: guest.beat() > before)
    assert guest.ask("os.uname().nodename") == os.uname().nodename


def test_a_lost_supervisor_at_the_gate_refuses(guest: Guest, room: Path, jails: list[Jail]) -> None:
    jail = started(guest, room, jails)
    before = guest.beat()
    restore(jail, guest)
    jail.sock.shutdown(2)
    assert jail.init_pid is not None
    pidfd = os.pidfd_open(jail.init_pid)
    try:
        assert select.select([pidfd], [], [], LIMIT_S)[0]
    finally:
        os.close(pidfd)
    assert guest.beat() == before


def test_signals_go_in_and_every_change_comes_out(guest: Guest, room: Path, jails: list[Jail]) -> None:
    jail = started(guest, room, jails)
    jail.send("signal", signo=int(signal.SIGUSR1))  # before it is there: delivered when it runs
    restore(jail, guest)
    release(jail)
    until(lambda: guest.ask("signals") == [signal.SIGUSR1])
    for _ in range(3):
        jail.send("signal", signo=int(signal.SIGSTOP))
        assert jail.wait_for("stopped", timeout_s=LIMIT_S)["signo"] == signal.SIGSTOP
        jail.send("signal", signo=int(signal.SIGCONT))
        assert jail.wait_for("continued", timeout_s=LIMIT_S)
    guest.say(f"die {int(signal.SIGTERM)}")
    end = jail.wait_for("signaled", "exit", timeout_s=LIMIT_S)
    assert (end["ev"], end["signo"], end["core"]) == ("signaled", signal.SIGTERM, False)
    assert end["others"] == []
    assert not [event for event, _ in jail._waiting if event["ev"] not in ("init", "ready")]


def test_a_queued_signal_keeps_its_value(guest: Guest, room: Path, jails: list[Jail]) -> None:
    jail = started(guest, room, jails)
    restore(jail, guest)
    release(jail)
    sigqueue = user_siginfo(41, -1, 4711, 1234, 99)
    jail.send("queue", siginfo=base64.b64encode(sigqueue).decode())
    # A siginfo that only the kernel may make is delivered as a plain signal.
    plain = user_siginfo(signal.SIGUSR2, 0, 1, 0)
    jail.send("queue", siginfo=base64.b64encode(plain).decode())
    until(lambda: guest.ask("signals") == [signal.SIGUSR2])
    assert guest.ask("tuple(signal.sigwaitinfo([41]))[:5]") == (41, -1, 0, 4711, 1234)


def test_a_family_moves_together(guest: Guest, room: Path, jails: list[Jail]) -> None:
    guest.descendants = guest.ask("family()")
    child, grandchild = guest.descendants
    jail = started(guest, room, jails)
    restore(jail, guest)
    release(jail)
    assert {guest.pid, child, grandchild} <= set(jail.host_pids())
    assert guest.ask("os.getsid(child), os.getpgid(grandchild)") == (child, child)
    jail.freeze(LIMIT_S)
    jail.send("dump", name="next", timeout_s=60)
    done = jail.wait_for("dumped", "dump-failed", timeout_s=LIMIT_S)
    assert done["ev"] == "dumped", done
    jail.thaw()
    assert guest.ask("end_child()") == 5
    until(lambda: guest.ask("open(f'/proc/{grandchild}/stat').read().split()[3]") == "1")
    guest.say("exit 0")
    assert jail.wait_for("exit", timeout_s=LIMIT_S)["others"] == [grandchild]


def test_on_to_a_second_jail(guest: Guest, room: Path, jails: list[Jail]) -> None:
    first = started(guest, room, jails)
    restore(first, guest)
    release(first)
    guest.say("log on the first node")
    guest.answer()
    at_first = guest.ask("ids()")
    first.freeze(LIMIT_S)
    before = guest.beat()
    first.send("dump", name="next", timeout_s=60)
    done = first.wait_for("dumped", "dump-failed", timeout_s=LIMIT_S)
    assert done["ev"] == "dumped", done
    assert guest.beat() == before
    second = Jail.start(guest.spec(room / "work2", room / "work" / "next"))
    jails.append(second)
    restore(second, guest)
    assert guest.beat() == before
    release(second)
    assert first.kill(LIMIT_S) or True
    guest.say("log on the second node")
    guest.answer()
    assert guest.ask("ids()") == at_first
    assert guest.ask("sane()") is True
    assert guest.log.read_text() == "on the first node\non the second node\n"


def test_home_again_behind_the_deputy(guest: Guest, room: Path, jails: list[Jail]) -> None:
    at_home = guest.ask("ids()")
    network = guest.ask("os.readlink('/proc/self/ns/net')")
    jail = started(guest, room, jails, root="local")
    restore(jail, guest)
    release(jail)
    assert guest.ask("ids()") == at_home
    assert guest.ask("os.readlink('/proc/self/ns/net')") == network
    jail.freeze(LIMIT_S)
    jail.send("dump", name="next", timeout_s=60)
    done = jail.wait_for("dumped", "dump-failed", timeout_s=LIMIT_S)
    assert done["ev"] == "dumped", done
    jail.thaw()
    guest.say("exit 3")
    assert jail.wait_for("exit", timeout_s=LIMIT_S)["status"] == 3


def test_final_offsets_survive_the_guest(guest: Guest, room: Path, jails: list[Jail]) -> None:
    number = guest.ask("log.fileno()")
    jail = started(guest, room, jails)
    restore(jail, guest, track={"log": number})
    release(jail)
    guest.say("log 0123456789")
    guest.answer()
    jail.send("offsets")
    assert jail.wait_for("offsets", timeout_s=LIMIT_S)["offsets"] == {"log": 11}
    guest.say("exit 0")
    assert jail.wait_for("exit", timeout_s=LIMIT_S)["offsets"] == {"log": 11}


def test_kill_leaves_nothing(guest: Guest, room: Path, jails: list[Jail]) -> None:
    jail = started(guest, room, jails)
    restore(jail, guest)
    release(jail)
    jail.freeze(LIMIT_S)
    inside = jail.host_pids()
    assert guest.pid in inside
    assert jail.kill(LIMIT_S)
    assert not [pid for pid in inside.values() if _alive_in(pid, guest)]
    assert not (room / "work").exists()
    assert jail.spec.freezer_dir is not None
    assert not Path(jail.spec.freezer_dir).exists()
    assert str(room) not in Path("/proc/self/mountinfo").read_text()
    assert jail.kill(LIMIT_S)  # again is harmless


def test_the_jail_dies_with_its_supervisor(guest: Guest, room: Path) -> None:
    guest.dump(room / "images")
    spec = guest.spec(room / "work", room / "images", freezer_dir=guest.cgroup.path)
    reader, writer = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        try:
            jail = Jail.start(spec)
            jail.wait_for("ready", timeout_s=LIMIT_S)
            os.write(writer, str(jail.init_pid).encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        init = os.pidfd_open(int(os.read(reader, 16)))
    finally:
        os.kill(supervisor, signal.SIGKILL)
        os.waitpid(supervisor, 0)
        os.close(reader)
    try:
        assert select.select([init], [], [], LIMIT_S)[0]
    finally:
        os.close(init)


def test_a_broken_image_is_refused_with_the_reason(guest: Guest, room: Path, jails: list[Jail]) -> None:
    jail = started(guest, room, jails)
    (room / "images" / f"core-{guest.pid}.img").unlink()
    jail.wait_for("ready", timeout_s=LIMIT_S)
    jail.send("restore", fds=guest.pipes(), keys=guest.keys)
    event = jail.wait_for("restore-failed", "gate", timeout_s=LIMIT_S)
    assert event["ev"] == "restore-failed"
    assert event["message"] == "Unexpected EOF on (empty-image)"
    guest.cgroup.thaw()
    assert guest.ask("sane()") is True


def _alive_in(pid: int, guest: Guest) -> bool:
    try:
        return f"\t{guest.pid}\n" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
