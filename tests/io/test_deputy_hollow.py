"""The original becomes a deputy: nobody notices, its memory is gone, and it obeys."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migrated.deputy.channel import DeputyChannel, ForwardedSignal
from migrated.deputy.error import HollowFailed, ProcessGone
from migrated.deputy.freezer import Freezer, hierarchies
from migrated.deputy.hollow import Hollow, hollow
from migrated.deputy.ptrace import Tracee, own_call
from tests.support.interpreter import PYTHON

pytestmark = pytest.mark.root

_PROGRAM = """
import os, signal, sys, threading, time
data = os.urandom(8 << 20)
threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range({threads})]
for thread in threads:
    thread.start()
os.write(1, b"ready\\n")
while byte := os.read(0, 1):
    os.write(1, byte + b"\\n")
"""


class Original:
    """A running program with a frozen moment to come."""

    def __init__(self, threads: int = 0, user: int = 0) -> None:
        self.process = subprocess.Popen(
            [PYTHON, "-c", _PROGRAM.format(threads=threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user or None,
            group=user or None,
            extra_groups=[] if user else None,
            process_group=0,  # a stop signal is ignored in an orphaned group, as a run without a shell may be
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid

    def hollow(self) -> tuple[Hollow, DeputyChannel]:
        freezer = Freezer.create(self.pid, f"{run_name()}-{self.pid}")
        freezer.freeze(20.0)
        made = hollow(self.pid, freezer)
        assert not os.path.exists(freezer.path)
        return made, DeputyChannel.open(self.pid, made)

    def echoes(self) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"x")
        self.process.stdin.flush()
        return self.process.stdout.readline() == b"x\n"

    def status(self, field: str) -> str:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(field + ":"))


@pytest.fixture
def originals() -> Iterator[list[Original]]:
    made: list[Original] = []
    yield made
    for original in made:
        original.process.kill()
        original.process.wait()
        for stream in (original.process.stdin, original.process.stdout):
            assert stream is not None
            stream.close()


def _signals(channel: DeputyChannel, count: int) -> list[ForwardedSignal]:
    found: list[ForwardedSignal] = []
    while len(found) < count:
        assert select.select([channel.fileno()], [], [], 20.0)[0], f"only {found} came"
        found += channel.receive()
    return found


def run_name() -> str:
    return os.environ["OPENMOSIX_TEST_RUN"]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def _wait_for_state(original: Original, letter: str) -> None:
    deadline = time.monotonic() + 20.0
    while original.status("State")[0] != letter:
        assert time.monotonic() < deadline, f"state is {original.status('State')}"
        os.sched_yield()


@pytest.mark.parametrize(("threads", "user"), [(0, 0), (5, 0), (3, 1000)])
def test_a_deputy_is_small_quiet_and_looks_like_the_original(
    originals: list[Original], threads: int, user: int
) -> None:
    original = Original(threads, user)
    originals.append(original)
    before = {name: Path(f"/proc/{original.pid}/{name}").read_bytes() for name in ("cmdline", "environ", "comm")}
    executable = os.readlink(f"/proc/{original.pid}/exe")
    tids = sorted(os.listdir(f"/proc/{original.pid}/task"))
    _, channel = original.hollow()
    assert channel.ping(20.0)
    assert int(original.status("VmRSS").split()[0]) < 100
    assert original.status("TracerPid") == "0"
    _wait_for_state(original, "S")
    assert {name: Path(f"/proc/{original.pid}/{name}").read_bytes() for name in before} == before
    assert os.readlink(f"/proc/{original.pid}/exe") == executable
    assert sorted(os.listdir(f"/proc/{original.pid}/task")) == tids
    assert os.waitid(os.P_PID, original.pid, os.WSTOPPED | os.WCONTINUED | os.WEXITED | os.WNOHANG) is None
    channel.close()


def test_signals_are_forwarded_with_their_sender(originals: list[Original]) -> None:
    original = Original()
    originals.append(original)
    _, channel = original.hollow()
    for signo in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN + 3):
        os.kill(original.pid, signo)
        (forwarded,) = _signals(channel, 1)
        assert (forwarded.signo, forwarded.code, forwarded.sender_pid) == (signo, 0, os.getpid())
    channel.close()


def test_the_channel_can_be_opened_again_and_again(originals: list[Original]) -> None:
    original = Original()
    originals.append(original)
    made, channel = original.hollow()
    channel.close()
    os.kill(original.pid, signal.SIGHUP)
    again = DeputyChannel.open(original.pid, Hollow.from_json(made.to_json()))
    assert [entry.signo for entry in _signals(again, 1)] == [signal.SIGHUP]
    again.close()


@pytest.mark.parametrize(("threads", "order", "status"), [(0, "exit", 7), (3, "exit", 0), (2, "die", -signal.SIGSEGV)])
def test_it_ends_as_it_is_told(originals: list[Original], threads: int, order: str, status: int) -> None:
    original = Original(threads)
    originals.append(original)
    _, channel = original.hollow()
    if order == "exit":
        channel.exit(status)
    else:
        channel.die(-status)
    assert original.process.wait(20) == status
    channel.close()


def test_it_stops_and_continues(originals: list[Original]) -> None:
    original = Original()
    originals.append(original)
    _, channel = original.hollow()
    channel.stop(signal.SIGTSTP)
    change = os.waitid(os.P_PID, original.pid, os.WSTOPPED)
    assert change is not None
    assert (change.si_code, change.si_status) == (os.CLD_STOPPED, signal.SIGTSTP)
    os.kill(original.pid, signal.SIGCONT)
    assert [entry.signo for entry in _signals(channel, 1)] == [signal.SIGCONT]
    assert channel.ping(20.0)
    channel.close()


@pytest.mark.parametrize("thaw", [False, True])
@pytest.mark.parametrize("step", ["prepare", "pages", "channel", "rseq", "ready"])
def test_what_cannot_be_hollowed_goes_on_unharmed(originals: list[Original], step: str, thaw: bool) -> None:
    original = Original(2)
    originals.append(original)
    maps = Path(f"/proc/{original.pid}/maps").read_text()
    descriptors = sorted(os.listdir(f"/proc/{original.pid}/fd"))

    def fault(reached: str) -> None:
        if reached == step:
            raise OSError(24, "no descriptor left")

    freezer = Freezer.create(original.pid, f"{run_name()}-{original.pid}")
    freezer.freeze(20.0)
    with pytest.raises(HollowFailed):
        hollow(original.pid, freezer, thaw_on_failure=thaw, fault=fault)
    assert Path(f"/proc/{original.pid}/maps").read_text() == maps
    assert sorted(os.listdir(f"/proc/{original.pid}/fd")) == descriptors
    if not thaw:
        _wait_until(lambda: freezer.frozen)
        Freezer.from_json(freezer.to_json()).release()
    assert not os.path.exists(freezer.path)
    assert original.echoes()
    assert original.status("TracerPid") == "0"
    assert original.process.stdin is not None
    original.process.stdin.close()
    assert original.process.wait(20) == 0


def test_a_refused_seizure_leaves_it_frozen(originals: list[Original], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Original(2)
    originals.append(original)
    freezer = Freezer.create(original.pid, f"{run_name()}-{original.pid}")
    freezer.freeze(20.0)

    class Refusing(Tracee):
        def __init__(self, tid: int, *, die_with_us: bool = False) -> None:
            if tid != original.pid:
                raise PermissionError(1, "traced by somebody else")
            super().__init__(tid, die_with_us=die_with_us)

    with monkeypatch.context() as patched:
        patched.setattr("migrated.deputy.held.Tracee", Refusing)
        with pytest.raises(HollowFailed, match="somebody else"):
            hollow(original.pid, freezer)
    _wait_until(lambda: freezer.frozen)
    freezer.release()
    assert original.echoes()


def test_the_old_freezer_serves_where_the_new_one_is_missing(
    originals: list[Original], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [entry for entry in hierarchies() if not entry[1]]
    if not old:
        return
    monkeypatch.setattr("migrated.deputy.freezer.hierarchies", lambda: old)
    original = Original(2)
    originals.append(original)

    def fault(reached: str) -> None:
        if reached == "ready":
            raise OSError(24, "no descriptor left")

    freezer = Freezer.create(original.pid, f"{run_name()}-{original.pid}")
    assert not freezer.is_v2
    freezer.freeze(20.0)
    with pytest.raises(HollowFailed):
        hollow(original.pid, freezer, fault=fault)
    _wait_until(lambda: freezer.frozen)
    freezer.release()
    assert original.echoes()
    _, channel = original.hollow()
    assert channel.ping(20.0)
    channel.exit(3)
    assert original.process.wait(20) == 3
    channel.close()


def test_a_process_killed_meanwhile_is_reported_as_gone(originals: list[Original]) -> None:
    original = Original(1)
    originals.append(original)
    freezer = Freezer.create(original.pid, f"{run_name()}-{original.pid}")
    freezer.freeze(20.0)

    def fault(reached: str) -> None:
        if reached == "rseq":
            os.kill(original.pid, signal.SIGKILL)

    with pytest.raises(ProcessGone):
        hollow(original.pid, freezer, fault=fault)
    # Tracer and parent are the same here, so the status may have gone to the tracer.
    original.process.wait(20)
    _wait_until(lambda: not os.path.exists(freezer.path))


def test_a_deputy_can_be_killed(originals: list[Original]) -> None:
    original = Original(2)
    originals.append(original)
    made, channel = original.hollow()
    original.process.kill()
    assert original.process.wait(20) == -signal.SIGKILL
    channel.close()
    with pytest.raises(ProcessGone):
        DeputyChannel.open(original.pid, made)


def test_malformed_messages_are_dropped(originals: list[Original]) -> None:
    original = Original()
    originals.append(original)
    made, channel = original.hollow()
    pidfd = os.pidfd_open(original.pid)
    forger = socket.socket(fileno=own_call(438, pidfd, made.deputy_fd, 0))
    os.close(pidfd)
    for message in (b"x", bytes(128), b"\xff" * 128, b"y" * 1000):
        forger.send(message)
    os.kill(original.pid, signal.SIGUSR2)
    assert [entry.signo for entry in _signals(channel, 1)] == [signal.SIGUSR2]
    assert channel.malformed == 4
    forger.close()
    channel.close()


def test_a_tree_is_frozen_as_one(originals: list[Original]) -> None:
    for _ in range(2):
        originals.append(Original())
    freezer = Freezer.create([o.pid for o in originals], f"{run_name()}-tree")
    freezer.freeze(20.0)
    assert freezer.frozen
    freezer.release()
    assert not os.path.exists(freezer.path)
