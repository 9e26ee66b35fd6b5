"""The journal: durable, whole, and silent about what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrated.core.ledger import State
from migrated.journal import Ending, Journal, Record


def _record(pid: int, state: State = State.AWAY) -> Record:
    return Record(
        pid=pid,
        start_ticks=7,
        boot_id="b",
        migration_id="m",
        epoch=1,
        state=state,
        home=1,
        node=2,
        address="10.77.0.2",
        uid=1000,
        command="job",
        freezer={"pids": [pid], "path": "/x", "homes": ["/"], "v2": True},
        ending=Ending(exited=True, status=3),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.records() == []
    for pid in (30, 4):
        journal.write(_record(pid))
    assert journal.read(30) == _record(30)
    assert [record.pid for record in journal.records()] == [4, 30]
    journal.write(_record(4, State.DEAD))
    assert journal.read(4) == _record(4, State.DEAD)
    journal.remove(4)
    journal.remove(4)
    assert [record.pid for record in journal.records()] == [30]


def test_torn_and_foreign_files_are_no_decisions(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(_record(5))
    whole = (tmp_path / "5.json").read_bytes()
    (tmp_path / "6.json").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "7.json").write_bytes(b"")
    (tmp_path / "x.json").write_bytes(whole)
    (tmp_path / ".8.99").write_bytes(whole)
    assert [record.pid for record in journal.records()] == [5]


def test_a_place_that_is_none_is_an_error_when_writing_only(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file")
    journal = Journal(tmp_path / "journal")
    with pytest.raises(OSError, match="journal"):
        journal.write(_record(5))
    assert journal.read(5) is None
    assert journal.records() == []
    journal.remove(5)
