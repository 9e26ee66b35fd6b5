"""What pages of the view show beside processes and nodes: programs run, guests, metrics, histories."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openmosixview.collector.schema import open_history
from openmosixview.collector.writing import add_processes, add_samples
from tests.support.view_bench import ViewBench, node_row, view_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ViewBench]:
    async with view_bench(tmp_path) as made:
        yield made


@pytest.fixture
async def view(bench: ViewBench) -> ViewBench:
    await bench.unlock()
    return bench


async def eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        if found := await condition():
            return found
        await asyncio.sleep(0.01)


async def test_a_program_is_run_and_its_end_is_shown(tmp_path: Path) -> None:
    script = "import sys; print(sys.argv[1:]); print('err', file=sys.stderr); sys.exit(3)"
    async with view_bench(tmp_path, mosrun=[sys.executable, "-c", script]) as bench:
        await bench.unlock()
        status, run = await bench.order("/api/runs", {"command": "job 'a b'", "place": "nodes", "nodes": "2"})
        assert status == 201

        async def ended() -> dict[str, Any] | None:
            found = await bench.get(f"/api/runs/{run['id']}")
            return None if found["is_running"] else found

        done = await eventually(ended)
        assert done["status"] == 3
        assert sorted(done["output"].splitlines()) == ["['-j2', '--', 'job', 'a b']", "err"]


async def test_a_program_is_stopped_with_its_output_kept(tmp_path: Path) -> None:
    script = "import time; print('begun', flush=True); time.sleep(600)"
    async with view_bench(tmp_path, mosrun=[sys.executable, "-c", script]) as bench:
        await bench.unlock()
        _, run = await bench.order("/api/runs", {"command": "job"})

        async def state(is_running: bool) -> dict[str, Any] | None:
            found = await bench.get(f"/api/runs/{run['id']}")
            return found if found["output"] and found["is_running"] is is_running else None

        await eventually(lambda: state(True))
        assert (await bench.order(f"/api/runs/{run['id']}/stop", {}))[0] == 200
        assert (await eventually(lambda: state(False)))["status"] == -15


async def test_programs_end_with_the_view(tmp_path: Path) -> None:
    script = "import time; print('begun', flush=True); time.sleep(600)"
    async with view_bench(tmp_path, mosrun=[sys.executable, "-c", script]) as bench:
        await bench.unlock()
        _, run = await bench.order("/api/runs", {"command": "job"})

        async def pid() -> int | None:
            found = await bench.get(f"/api/runs/{run['id']}")
            return found["pid"] if found["output"] else None

        running = await eventually(pid)
    with pytest.raises(ProcessLookupError):
        os.kill(running, 0)


async def test_guests_are_read_from_and_sent_by_the_tree(view: ViewBench) -> None:
    directory = view.view.paths.hpc_dir / "remote/77"
    status, _ = await view.order("/api/guests/77/send", {"to": "home"})
    assert status == 404
    assert (await view.client.get("/api/guests")).status == 409
    directory.mkdir(parents=True)
    (directory / "from").write_text("2\n")
    (directory / "identity").write_text("uid=0\npid=4711\ncommand=<b>job</b>\nnmigs=1\n")
    (directory / "stats").write_text("utime=150\nnice=0\nstate=R\nvsize=1\nrss=2\n")
    (directory / "goto").write_text("")
    [guest] = (await view.get("/api/guests"))["guests"]
    assert (guest["home"], guest["home_pid"], guest["command"]) == (2, 4711, "<b>job</b>")
    assert (await view.order("/api/guests/77/send", {"to": "balance"}))[0] == 200
    assert (directory / "goto").read_text() == "-1"


async def test_metrics_need_no_session_but_a_name_of_this_machine(bench: ViewBench) -> None:
    answer = await bench.client.get("/metrics")
    text = await answer.text()
    assert answer.status == 200
    assert 'openmosix_node_up{node="3",address="10.77.0.3"} 0' in text
    assert "openmosix_processes_away 0" in text


async def test_history_pages_without_and_with_a_history(view: ViewBench) -> None:
    empty = await view.get("/api/history")
    assert (empty["span"], empty["code"], empty["saved"]) == (None, "no-history", [])
    assert (await view.client.get("/api/history/series")).status == 404
    connection = open_history(view.view.collector.history, create=True)
    row = node_row(1) | {"busy": 0.5, "used_bytes": 1, "total_bytes": 2}
    add_samples(connection, 1_700_000_000, [row])
    add_processes(connection, 1_700_000_000, [{"pid": 1, "node": 0, "cpu_percent": 0.0}])
    connection.close()
    assert (await view.get("/api/history"))["span"] == [1_700_000_000, 1_700_000_000]
    times = "from=1699999990&to=1700000010"
    found = await view.get(f"/api/history/series?{times}")
    assert found["nodes"]["1"]["load"] == [[1_700_000_000, 500, 500, 500]]
    csv = await view.client.get(f"/api/history/export.csv?{times}")
    assert (csv.content_type, len((await csv.text()).splitlines())) == ("text/csv", 2)
    assert (await view.get(f"/api/history/export.json?{times}"))["kind"] == "history"
    assert (await view.get("/api/history/moments"))["moments"] == [1_700_000_000]
    assert (await view.get("/api/history/processes?t=1700000001"))["rows"][0]["pid"] == 1
    for bad in ("from=nan&to=1", "from=x", "from=1e99"):
        assert (await view.client.get(f"/api/history/series?{bad}")).status == 400
    assert (await view.client.get("/api/history/series?history=../x")).status == 404


async def test_a_history_of_another_version_is_a_clear_state(view: ViewBench) -> None:
    open_history(view.view.collector.history, create=True).close()
    connection = sqlite3.connect(view.view.collector.history)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    body = await view.get("/api/history")
    assert body["code"] == "history-version"
    status, answer = await view.order("/api/collector", {"order": "checkpoint"})
    assert (status, answer["error"]["code"]) == (409, "history-version")
