"""The collector as a program: sampling, a daemon that goes away, a full file, kill -9, start and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from omprotocol.errors import MosixError
from openmosixview.collector import command, reading
from openmosixview.collector.control import CollectorControl
from openmosixview.collector.sampler import Sampler
from openmosixview.collector.schema import open_history
from tests.support.view_bench import ViewBench, node_row, view_bench

T = 1_700_000_400


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ViewBench]:
    async with view_bench(tmp_path) as made:
        yield made


@pytest.fixture
def history(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_history(tmp_path / "collector/history.db", create=True)
    yield connection
    connection.close()


async def test_samples_processes_and_migrations_are_recorded(bench: ViewBench, history: sqlite3.Connection) -> None:
    now = T
    sampler = Sampler(bench.view.client, history, lambda: now)
    pid = os.getpid()
    away: list[dict[str, Any]] = []
    bench.control.answers["away"] = lambda _args: {"away": away}
    bench.control.answers["process.list"] = lambda _args: {"processes": [{"pid": pid, "where": 2, "nmigs": 1}]}
    await sampler.sample()
    away.append({"pid": pid, "node": 2, "moves": 1})
    now += 10
    await sampler.sample()
    assert sampler.failure == ""
    assert [len(line["load"]) for line in reading.series(history, T, now)["nodes"].values()] == [2, 2]
    [move] = reading.events(history, T, now)["moves"]
    assert (move["pid"], move["from"], move["to"]) == (pid, 0, 2)
    assert (
        reading.processes_at(history, now)["rows"][0] | {"pid": pid, "node": 2}
        == (reading.processes_at(history, now)["rows"][0])
    )


async def test_a_silent_daemon_leaves_a_gap(bench: ViewBench, history: sqlite3.Connection) -> None:
    now = T
    sampler = Sampler(bench.view.client, history, lambda: now)
    await sampler.sample()
    table = bench.control.answers.pop("node.table")
    now += 10
    await sampler.sample()
    assert "node.table" in sampler.failure
    bench.control.answers["node.table"] = table
    now += 10
    await sampler.sample()
    assert sampler.failure == ""
    assert [point[0] for point in reading.series(history, T, now)["nodes"][1]["load"]] == [T, T + 20]


async def test_a_full_history_makes_room(bench: ViewBench, history: sqlite3.Connection) -> None:
    now = T
    sampler = Sampler(bench.view.client, history, lambda: now)
    rows = [node_row(number) for number in range(1, 65)]
    bench.control.answers["node.table"] = lambda _args: {"node": 1, "yardstick": 15000, "nodes": rows}
    await sampler.sample()
    pages = history.execute("PRAGMA page_count").fetchone()[0]
    history.execute(f"PRAGMA max_page_count = {pages + 4}")
    for _ in range(60):
        now += 10
        await sampler.sample()
    first, last = reading.span(history) or (0, 0)
    assert first > T  # the oldest went
    assert last > T + 300
    assert history.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class FullDisk(sqlite3.Connection):
    """Says what SQLite says when the disk is full."""

    is_full = True

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if self.is_full and statement.startswith("INSERT"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return super().execute(statement, *parameters)


async def test_a_full_disk_loses_only_what_could_not_be_written(bench: ViewBench, history: sqlite3.Connection) -> None:
    now = T
    await Sampler(bench.view.client, history, lambda: now).sample()
    with contextlib.closing(
        sqlite3.connect(bench.view.collector.history, factory=FullDisk, isolation_level=None)
    ) as connection:
        sampler = Sampler(bench.view.client, connection, lambda: now)
        for _ in range(5):
            now += 10
            await sampler.sample()
            assert sampler.failure == "database or disk is full"
        connection.is_full = False
        now += 10
        await sampler.sample()
        assert sampler.failure == ""
    assert [point[0] for point in reading.series(history, T, now)["nodes"][1]["load"]] == [T, now]


KILLED = """
import sys
from pathlib import Path
from openmosixview.collector.schema import open_history
from openmosixview.collector.writing import add_samples
connection = open_history(Path(sys.argv[1]), create=True)
facts = {"up": True, "busy": 0.5, "used_bytes": 1, "total_bytes": 2, "address": "a", "cpus": 1, "speed": 1}
t = 1700000000
while True:
    add_samples(connection, t, [facts | {"node": node} for node in range(64)])
    print(t, flush=True)
    t += 10
"""


def test_a_killed_collector_leaves_whole_samples(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    writer = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        told = [int(writer.stdout.readline()) for _ in range(40)]
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        told += [int(line) for line in writer.stdout.read().split()]
        writer.stdout.close()
    connection = open_history(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counts = dict(connection.execute("SELECT t, count(*) FROM samples GROUP BY t").fetchall())
        assert set(counts.values()) == {64}
        assert set(told) <= set(counts)
    finally:
        connection.close()


def test_start_once_checkpoint_save_and_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUN", "STATE", "ETC"):
        monkeypatch.setenv(f"OPENMOSIX_{name}_DIR", str(tmp_path / name))
    control = CollectorControl(tmp_path / "collector")
    assert control.start() == "collector started"
    try:
        assert control.running_pid() > 0
        assert control.state()["state"] == "late"  # there is no daemon to ask
        with pytest.raises(MosixError, match="running already"):
            control.start()
        assert control.checkpoint("one") == "checkpoint set"
        assert control.save().startswith("history saved")
    finally:
        assert control.stop() == "collector stopped"
    assert control.running_pid() == 0
    with pytest.raises(MosixError, match="No collector"):
        control.stop()


def test_a_number_left_by_a_dead_collector_is_never_signalled(tmp_path: Path) -> None:
    (tmp_path / "collector.pid").write_text(f"{os.getpid()}\n")
    control = CollectorControl(tmp_path)
    assert control.running_pid() == 0
    with pytest.raises(MosixError, match="No collector"):
        control.stop()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "collector").mkdir()
    (tmp_path / "collector/collector.pid").symlink_to(victim)
    with pytest.raises(OSError, match=r"symbolic link|loop"):
        CollectorControl(tmp_path / "collector").take_lock()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "openmosixcollector -d"),
        (["-k"], 4, "No collector is running"),
        (["-n"], 4, "There is no history yet"),
        (["-r"], 4, "There is no history yet"),
        (["--export", "csv"], 4, "There is no history yet"),
        (["--state"], 1, "The collector is off"),
        (["-d", "-k"], 2, "not allowed with"),
        (["--bogus"], 2, "--bogus"),
    ],
)
def test_words_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    assert command.main([*words, "--directory", str(tmp_path / "none")]) == status
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
