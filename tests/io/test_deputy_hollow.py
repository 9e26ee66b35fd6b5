"""The original becomes a deputy: nobody notices, its memory is gone, and it obeys."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.deputy.channel import DeputyChannel, ForwardedSignal
from migrated.deputy.freezer import Freezer
from migrated.deputy.hollow import Hollow, HollowFailed, hollow
from migrated.deputy.ptrace import Tracee

pytestmark = pytest.mark.root

_PROGRAM = """
import os, signal, sys, threading, time
data = os.urandom(8 << 20)
threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range({threads})]
for thread in threads:
    thread.start()
os.write(1, b"ready\\n")
while True:
    os.read(0, 1) or time.sleep(1000)
"""


class Original:
    """A running program with a frozen moment to come."""

    def __init__(self, threads: int = 0, user: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(threads=threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user or None,
            group=user or None,
            extra_groups=[] if user else None,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid

    def hollow(self) -> tuple[Hollow, DeputyChannel]:
        freezer = Freezer.create(self.pid, f"test-{self.pid}")
        freezer.freeze(20.0)
        made = hollow(self.pid, freezer)
        assert not os.path.exists(freezer.path)
        return made, DeputyChannel.open(self.pid, made)

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


def test_what_cannot_be_hollowed_goes_on_unharmed(originals: list[Original], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Original(2)
    originals.append(original)
    maps = Path(f"/proc/{original.pid}/maps").read_text()
    descriptors = sorted(os.listdir(f"/proc/{original.pid}/fd"))
    real = Tracee.system_call

    def no_signalfd(self: Tracee, number: int, *arguments: int) -> int:
        if number == 289:
            raise OSError(24, "no descriptor left")
        return real(self, number, *arguments)

    freezer = Freezer.create(original.pid, f"test-{original.pid}")
    freezer.freeze(20.0)
    with monkeypatch.context() as patched:
        patched.setattr(Tracee, "system_call", no_signalfd)
        with pytest.raises(HollowFailed):
            hollow(original.pid, freezer)
    assert Path(f"/proc/{original.pid}/maps").read_text() == maps
    assert sorted(os.listdir(f"/proc/{original.pid}/fd")) == descriptors
    assert freezer.frozen
    freezer.thaw()
    freezer.release()
    os.kill(original.pid, signal.SIGTERM)
    assert original.process.wait(20) == -signal.SIGTERM
