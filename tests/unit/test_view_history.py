"""The collector's database: writing, thinning, reading, saving, and files it must not touch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omprotocol.errors import MosixError
from openmosixview.collector import reading, writing
from openmosixview.collector.control import CollectorControl
from openmosixview.collector.schema import open_history
from openmosixview.collector.writing import KEPT_S, MAX_PROCESSES

T = 1_700_000_400


@pytest.fixture
def history(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_history(tmp_path / "history.db", create=True)
    yield connection
    connection.close()


def row(node: int, busy: float = 0.5, used: int = 300, **values: Any) -> dict[str, Any]:
    facts = {"node": node, "up": True, "busy": busy, "used_bytes": used, "total_bytes": 1000}
    return facts | {"address": f"10.77.0.{node}", "cpus": 2, "speed": 15000} | values


def test_samples_come_back_as_lines(history: sqlite3.Connection) -> None:
    writing.add_samples(history, T, [row(1), row(2, 2.0, 900), row(3, up=False)])
    writing.add_samples(history, T + 10, [row(1, 1.0)])
    writing.add_mark(history, T + 3.5, "<b>before</b>")
    writing.add_moves(history, T + 10, [(7, 0, 2, "job")])
    assert reading.span(history) == (T, T + 10)
    found = reading.series(history, T, T + 100)
    assert found["nodes"][1]["load"] == [[T, 500, 500, 500], [T + 10, 1000, 1000, 1000]]
    assert found["nodes"][2]["mem"] == [[T, 900, 900, 900]]
    assert 3 not in found["nodes"]
    assert reading.events(history, T, T + 100) == {
        "marks": [{"t": T + 3.5, "text": "<b>before</b>"}],
        "moves": [{"t": T + 10, "pid": 7, "from": 0, "to": 2, "command": "job"}],
    }
    assert reading.node_facts(history)[2] == {
        "address": "10.77.0.2",
        "cpus": 2,
        "speed": 15000,
        "total_bytes": 1000,
    }


def test_a_long_time_comes_in_few_points_with_its_extremes(history: sqlite3.Connection) -> None:
    with writing.transaction(history):
        for count in range(4000):
            history.execute(
                "INSERT INTO samples(step, t, node, load, mem) VALUES(10, ?, 1, ?, 100)",
                (T + 10 * count, 1000 if count == 1234 else 10),
            )
    line = reading.series(history, T, T + 40_000)["nodes"][1]["load"]
    assert len(line) <= reading.MAX_POINTS + 1
    assert max(point[3] for point in line) == 1000
    assert min(point[2] for point in line) == 10


def test_old_samples_become_coarser_and_the_oldest_go(history: sqlite3.Connection) -> None:
    now = T + KEPT_S[0] + 1200
    for offset, busy in ((0, 0.1), (10, 0.3), (110, 0.2), (KEPT_S[0] + 1200, 1.0)):
        writing.add_samples(history, T + offset, [row(1, busy)])
    writing.thin(history, now)
    rows = history.execute("SELECT step, t, load, load_min, load_max FROM samples ORDER BY step, t").fetchall()
    assert rows == [(10, now, 1000, None, None), (120, T // 120 * 120, 200, 100, 300)]
    writing.thin(history, now)
    assert history.execute("SELECT count(*) FROM samples").fetchone() == (2,)
    writing.thin(history, now + KEPT_S[2] + 900)
    assert reading.series(history, T, T)["nodes"] == {}


def test_processes_of_a_moment(history: sqlite3.Connection) -> None:
    rows = [{"pid": pid, "node": int(pid == 900), "cpu_percent": float(pid)} for pid in range(1, 901)]
    writing.add_processes(history, T, rows)
    writing.add_processes(history, T + 60, [])
    assert reading.moments(history) == [T, T + 60]
    found = reading.processes_at(history, T + 59)
    assert found["t"] == T
    assert [found["rows"][0]["pid"], len(found["rows"])] == [900, MAX_PROCESSES]
    assert reading.processes_at(history, T + 600)["rows"] == []
    with pytest.raises(MosixError):
        reading.processes_at(history, T - 1)


def test_export(history: sqlite3.Connection) -> None:
    writing.add_samples(history, T, [row(1)])
    assert "".join(reading.as_csv(history, 0, 2**40)).splitlines() == [
        "time_s,step_s,node,load_percent,load_min,load_max,mem_percent,mem_min,mem_max",
        f"{T},10,1,50.0,50.0,50.0,30.0,30.0,30.0",
    ]
    assert reading.as_json(history, 0, 2**40)["samples"][0]["load"] == 50.0


def test_a_full_history_drops_its_oldest_tenth(history: sqlite3.Connection) -> None:
    for count in range(100):
        writing.add_samples(history, T + 10 * count, [row(1)])
    assert writing.drop_oldest(history) == 10
    assert reading.span(history) == (T + 100, T + 990)


def test_saving_keeps_everything_and_begins_anew(tmp_path: Path) -> None:
    control = CollectorControl(tmp_path)
    connection = open_history(control.history, create=True)
    writing.add_samples(connection, T, [row(1)])
    connection.close()
    control.checkpoint("here")
    assert control.save().startswith("history saved as history-")
    [name] = control.saved()
    saved = open_history(control.history_named(name))
    running = open_history(control.history)
    try:
        assert reading.span(saved) == (T, T)
        assert len(reading.events(saved, 0, 2**40)["marks"]) == 1
        assert reading.span(running) is None
        assert reading.events(running, 0, 2**40)["marks"] == []
    finally:
        saved.close()
        running.close()
    assert control.history_named(name).stat().st_mode & 0o077 == 0
    assert tmp_path.joinpath("history.db").stat().st_mode & 0o077 == 0


def test_a_history_that_cannot_be_saved_goes_on(tmp_path: Path) -> None:
    control = CollectorControl(tmp_path)
    connection = open_history(control.history, create=True)
    try:
        writing.add_samples(connection, T, [row(1)])
        target = tmp_path / "saved" / "history-20260101-000000.db"
        target.parent.mkdir()
        target.write_text("somebody's file")
        with pytest.raises(MosixError, match="goes on"):
            writing.save_and_begin_anew(connection, target)
        assert target.read_text() == "somebody's file"
        assert reading.span(connection) == (T, T)
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["../history.db", "history.db", "history-1.db", "history-20260101-000000.db/.."])
def test_only_saved_histories_are_opened_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(MosixError):
        CollectorControl(tmp_path).history_named(name)


def test_a_database_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    open_history(path, create=True).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(MosixError, match="of version 7, this program understands version 1"):
            open_history(path, create=create)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is no database" * 100, b""])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(content)
    with pytest.raises(MosixError):
        open_history(path)
    assert path.read_bytes() == content


def test_without_a_history_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(MosixError, match="start the collector"):
        open_history(tmp_path / "history.db")
    assert list(tmp_path.iterdir()) == []
    assert CollectorControl(tmp_path / "nowhere").state()["state"] == "off"
