"""A process that was hollowed is refilled and is exactly what its body had become."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.deputy.body_state import BodyState, OpenFile
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.error import RefillFailed
from migrated.deputy.freezer import Freezer
from migrated.deputy.hollow import Hollow, hollow
from migrated.deputy.layout import Grow, Map, Protect, Unmap, layout_steps
from migrated.deputy.mappings import read_mappings, read_status
from migrated.deputy.refill import Refill
from migrated.deputy.snapshot import BodySnapshot, decode_state, encode_state
from tests.support.interpreter import PYTHON

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).parents[1] / "support/deputy_program.py"
Pages = list[tuple[int, bytes]]
SPINS = 400_000


class Pair:
    """An original (the child of the test) and its body: a fork of it, or the original itself when `alone`."""

    def __init__(self, alone: bool, user: int = 0) -> None:
        held, self._hold = os.pipe()
        # A copy that every user can read, wherever the checkout is.
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            program = shutil.copy(PROGRAM, directory)
            os.chmod(program, 0o644)
            self._start(program, held, alone, user)

    def _start(self, program: str, held: int, alone: bool, user: int) -> None:
        self.process = subprocess.Popen(
            [PYTHON, "-S", program, str(held), *(["alone"] if alone else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[held],
            user=user or None,
            group=user or None,
            extra_groups=[] if user else None,
            process_group=0,
            cwd="/",
        )
        os.close(held)
        self.pid = self.process.pid
        self.body = int(self._line())

    def tell(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program has ended"
        return line.decode().rstrip("\n")

    def capture(self) -> tuple[BodyState, Pages]:
        """The state and memory of the body, which ends when it is not the original."""
        snapshot = BodySnapshot(self.body)
        try:
            state, pages = decode_state(encode_state(snapshot.state)), list(snapshot.pages())
        finally:
            snapshot.release(kill=self.body != self.pid)
        state.threads[0].tid = state.pid = self.pid
        return state, pages

    def capture_frozen(self) -> tuple[BodyState, Pages]:
        """As a migration does it: not one instruction runs between the capture and the hollowing (`record`)."""
        freezer = Freezer.create(self.pid, f"{os.environ['OPENMOSIX_TEST_RUN']}-{self.pid}")
        freezer.freeze(20.0)
        snapshot = BodySnapshot(self.body, freezer)
        state, pages = snapshot.state, list(snapshot.pages())
        freezer.refreeze()
        snapshot.release(kill=False)
        self.record = hollow(self.pid, freezer, thaw_on_failure=True)
        return state, pages

    def hollow(self) -> Hollow:
        freezer = Freezer.create(self.pid, f"{os.environ['OPENMOSIX_TEST_RUN']}-{self.pid}")
        freezer.freeze(20.0)
        return hollow(self.pid, freezer, thaw_on_failure=True)

    def refill(self, record: Hollow, state: BodyState, pages: Pages) -> None:
        refill = Refill(self.pid, record, state)
        assert refill.plan() == []
        refill.begin()
        try:
            for address, data in pages:
                refill.write_pages(address, data)
            refill.finish()
        except BaseException:
            refill.abort()
            raise

    def finish(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)

    def close(self) -> None:
        for pid in {self.body, self.pid}:
            try:
                if PROGRAM.name in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
            except (OSError, ProcessLookupError):
                pass
        self.process.wait(20)
        os.close(self._hold)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made: list[Pair] = []
    yield made
    for pair in made:
        pair.close()


def resident_kb(pid: int) -> int:
    return int(read_status(pid)["VmRSS"].split()[0])


def _descriptors(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("user", [0, 1000])
def test_everything_that_changed_while_away_comes_home(pairs: list[Pair], tmp_path: Path, user: int) -> None:
    pair = Pair(alone=False, user=user)
    pairs.append(pair)
    directory = tmp_path / "cwd"
    directory.mkdir()
    directory.chmod(0o777)
    for parent in directory.parents[:3]:
        parent.chmod(0o755)
    record = pair.hollow()
    pair.tell("facts()")
    pair.tell(f"mutate({str(directory)!r})")
    pair.tell("facts()")
    before = pair.tell("facts()")
    state, pages = pair.capture()
    steps = layout_steps(read_mappings(pair.pid), state.mappings)
    assert {type(step) for step in steps} == {Unmap, Protect, Map, Grow}
    assert {step.is_shared for step in steps if isinstance(step, Map) and step.path} == {False, True}
    pair.refill(record, state, pages)
    assert layout_steps(read_mappings(pair.pid), state.mappings) == []
    assert _descriptors(pair.pid) == [entry.fd for entry in state.files]
    assert pair.tell("facts()") == before
    assert pair.tell("unblock()") == "[10]"
    pair.tell("os.write(40, b'on') and os.write(41, b'')")
    assert (directory / "data").read_bytes()[77:79] == b"on"
    assert "TracerPid:\t0" in Path(f"/proc/{pair.pid}/status").read_text()
    assert os.waitid(os.P_PID, pair.pid, os.WSTOPPED | os.WCONTINUED | os.WEXITED | os.WNOHANG) is None
    assert pair.finish() == 5


@pytest.mark.parametrize(("threads", "user"), [(0, 0), (6, 0), (3, 1000)])
def test_there_and_back_again_and_again(pairs: list[Pair], threads: int, user: int) -> None:
    pair = Pair(alone=True, user=user)
    pairs.append(pair)
    pair.tell(f"start_threads({threads})")
    pair.tell("facts()")
    before = pair.tell("facts()")
    tids = sorted(os.listdir(f"/proc/{pair.pid}/task"))
    for _ in range(3):
        state, pages = pair.capture()
        pair.refill(pair.hollow(), state, pages)
        assert pair.tell("facts()") == before
        assert sorted(os.listdir(f"/proc/{pair.pid}/task")) == tids
    assert pair.tell("join_threads()") == "1"
    assert pair.finish() == 5


def test_a_busy_process_computes_on(pairs: list[Pair]) -> None:
    """Threads that are met in the middle of their own code, not in a system call."""
    pair = Pair(alone=True)
    pairs.append(pair)
    pair.tell("start_spinners(2)")
    for _ in range(6):
        state, pages = pair.capture_frozen()
        pair.refill(pair.record, state, pages)
    expected = b"spin"
    for _ in range(SPINS):
        expected = hashlib.sha256(expected).digest()
    assert pair.tell("spun()") == repr([expected.hex()] * 2)


def test_locked_memory_goes_and_comes(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    pair.tell("area('locked', 256) or fill('locked') or libc.mlock(ctypes.c_void_p(areas['locked'][0]), 1 << 20)")
    pair.tell("facts()")
    before = pair.tell("facts()")
    state, pages = pair.capture()
    record = pair.hollow()
    assert resident_kb(pair.pid) < 100
    pair.refill(record, state, pages)
    assert pair.tell("facts()") == before


def test_threads_born_while_away_are_born_at_home() -> None:
    """In a PID namespace of its own, where nobody else takes the numbers."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m", __name__]
    answer = subprocess.run(command, cwd=PROGRAM.parents[2], capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stdout) == (0, "born and joined\n"), answer.stderr


def _born_while_away() -> None:
    pair = Pair(alone=False)
    try:
        record = pair.hollow()
        pair.tell("start_threads(3)")
        pair.tell("facts()")
        before = pair.tell("facts()")
        state, pages = pair.capture()
        pair.refill(record, state, pages)
        assert pair.tell("facts()") == before
        assert len(os.listdir(f"/proc/{pair.pid}/task")) == 4
        assert pair.tell("join_threads()") == "1"
        assert pair.finish() == 5
    finally:
        pair.close()
    os.write(1, b"born and joined\n")


def test_threads_that_ended_while_away_end_at_home(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    pair.tell("start_threads(4)")
    state, pages = pair.capture()
    record = pair.hollow()
    state.threads = [thread for thread in state.threads if thread.tid == pair.pid]
    pair.refill(record, state, pages)
    assert os.listdir(f"/proc/{pair.pid}/task") == [str(pair.pid)]
    assert pair.tell("1 + 1") == "2"


def test_an_aborted_refill_is_a_deputy_again(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    pair.tell("start_threads(2)")
    before = pair.tell("facts()")
    state, pages = pair.capture()
    record = pair.hollow()
    refill = Refill(pair.pid, record, state)
    assert refill.plan() == []
    refill.begin()
    for address, data in pages:
        refill.write_pages(address, data)
    with pytest.raises(RefillFailed):
        refill.write_pages(record.code, b"x")
    refill.abort()
    channel = DeputyChannel.open(pair.pid, record)
    assert channel.ping(20.0)
    assert resident_kb(pair.pid) < 100
    channel.close()
    pair.refill(record, state, pages)
    assert pair.tell("facts()") == before


def test_a_refill_that_fails_late_is_a_deputy_again(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    state, pages = pair.capture()
    record = pair.hollow()
    nowhere = OpenFile(200, "/nowhere/at/all", "file", os.O_RDONLY, 0, 200, [])
    state.files.append(nowhere)
    with pytest.raises(RefillFailed):
        pair.refill(record, state, pages)
    channel = DeputyChannel.open(pair.pid, record)
    assert channel.ping(20.0)
    channel.close()
    state.files.remove(nowhere)
    pair.refill(record, state, pages)
    assert pair.tell("1 + 1") == "2"


def test_signals_nobody_read_are_the_processs_again(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    pair.tell("signal.signal(signal.SIGUSR1, lambda signo, frame: caught.append(signo))")
    state, pages = pair.capture()
    record = pair.hollow()
    os.kill(pair.pid, signal.SIGUSR1)
    pair.refill(record, state, pages)
    assert pair.tell("caught") == "[10]"


def test_unread_input_is_put_before_the_original_pipe(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    state, pages = pair.capture()
    record = pair.hollow()
    refill = Refill(pair.pid, record, state)
    assert refill.plan() == []
    refill.begin()
    for address, data in pages:
        refill.write_pages(address, data)
    writer = refill.put_pipe([0])
    refill.finish()
    os.write(writer, b"6 * 7\n")
    assert pair.process.stdout is not None
    assert pair.process.stdout.readline() == b"42\n"
    os.close(writer)
    assert pair.process.wait(20) == 5


def test_a_stopped_process_comes_home_stopped(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    pair.tell("start_threads(2)")
    state, pages = pair.capture()
    record = pair.hollow()
    channel = DeputyChannel.open(pair.pid, record)
    channel.stop(signal.SIGSTOP)
    assert os.waitid(os.P_PID, pair.pid, os.WSTOPPED | os.WNOWAIT) is not None
    channel.close()
    pair.refill(record, state, pages)
    deadline = time.monotonic() + 20.0
    while not read_status(pair.pid)["State"].startswith("T"):
        assert time.monotonic() < deadline
        os.sched_yield()
    os.kill(pair.pid, signal.SIGCONT)
    assert pair.tell("1 + 1") == "2"


def test_it_dies_with_the_shim_while_half_refilled(pairs: list[Pair]) -> None:
    pair = Pair(alone=True)
    pairs.append(pair)
    state, _ = pair.capture()
    record = pair.hollow()
    shim = os.fork()
    if shim == 0:
        try:
            refill = Refill(pair.pid, record, state)
            refill.plan()
            refill.begin()
        finally:
            os._exit(0)
    os.waitpid(shim, 0)
    assert pair.process.wait(20) == -signal.SIGKILL


def test_reasons_to_stay_away(pairs: list[Pair]) -> None:
    pair = Pair(alone=False)
    pairs.append(pair)
    record = pair.hollow()
    pair.tell("os.pipe()")
    pair.tell("area('together', 1, 3, 0x21)")
    state, _ = pair.capture()
    state.vdso_digest = b"another kernel"
    reasons = "; ".join(Refill(pair.pid, record, state).plan())
    assert "pipe" in reasons
    assert "shared memory" in reasons
    assert "kernel" in reasons


if __name__ == "__main__":
    os.environ.setdefault("OPENMOSIX_TEST_RUN", "omtest")
    _born_while_away()
