"""The view over HTTP: who gets in, what is refused, what pages are told, what is ordered of the daemon."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from omprotocol.errors import MosixError
from openmosixview.pages import PAGES
from openmosixview.process_rows import command_line, same_process
from tests.support.view_bench import STRANGER, ViewBench, view_bench


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


async def test_the_printed_address_opens_one_browser_once(bench: ViewBench) -> None:
    token = bench.view.sessions.new_token()
    assert (await bench.client.get("/")).status == 401
    assert (await bench.client.get("/api/processes")).status == 401
    assert (await bench.client.get("/events")).status == 401
    opened = await bench.client.get("/processes", params={"token": token})
    assert opened.status == 200
    cookie = opened.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert token not in await opened.text()
    assert (await bench.client.get("/")).status == 200
    bench.client.session.cookie_jar.clear()
    assert (await bench.client.get("/", params={"token": token})).status == 401
    assert (await bench.client.get("/", params={"token": "guessed"})).status == 401


async def test_a_used_address_still_works_for_the_browser_that_used_it(view: ViewBench) -> None:
    answer = await view.client.get("/", params={"token": "used"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_token_leads_to_pages_of_the_view_only(bench: ViewBench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.client.port)
    request = f"GET //evil.example/?token={bench.view.sessions.new_token()} HTTP/1.1\r\n"
    writer.write(f"{request}Host: 127.0.0.1:{bench.client.port}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 200")
    assert "url=/" in answer
    assert "evil" not in answer


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "a@127.0.0.1", "[::1", "10.77.0.1"])
async def test_a_forged_host_is_refused(view: ViewBench, host: str) -> None:
    for path in ("/", "/api/processes", "/metrics", "/static/view.css"):
        assert (await view.client.get(path, headers={"Host": host})).status == 421
    assert view.control.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_an_order_from_another_page_is_refused(view: ViewBench, headers: dict[str, str]) -> None:
    status, body = await view.order("/api/nodes/1/set", {"name": "stay", "value": True}, **headers)
    assert (status, body["error"]["code"]) == (403, "refused")
    assert view.control.asked_for("admin.set") == []


async def test_an_order_without_origin_or_not_as_json_is_refused(view: ViewBench) -> None:
    bare = await view.client.post("/api/nodes/1/set", json={"name": "stay", "value": True})
    assert bare.status == 403
    form = await view.client.post("/api/nodes/1/set", data={"name": "stay"}, headers={"Origin": view.origin})
    assert form.status == 415
    assert view.control.asked_for("admin.set") == []


async def test_reading_by_another_page_is_refused(view: ViewBench) -> None:
    answer = await view.client.get("/api/processes", headers={"Origin": "http://evil.example"})
    assert answer.status == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_every_page_is_complete_and_needs_nothing_from_outside(view: ViewBench) -> None:
    for page in PAGES:
        answer = await view.client.get(page)
        text = await answer.text()
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert " style=" not in text
        assert "<style" not in text
        assert " on" not in text.split("<main", 1)[0].replace(" only", "")
        for part in text.replace("'", '"').split('"'):
            assert not part.startswith(("http:", "https:", "//"))
            if part.startswith("/static/"):
                assert (await view.client.get(part)).status == 200, part
    missing = await view.client.get("/nowhere")
    assert missing.status == 404
    assert missing.headers["X-Content-Type-Options"] == "nosniff"
    assert (await view.client.get("/static/../guard.py")).status == 404


def test_scripts_set_text_and_never_markup() -> None:
    static = Path(__file__).parents[2] / "openmosixview/static"
    for script in static.glob("*.js"):
        text = script.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"):
            assert word not in text.replace('"http://www.w3.org/2000/svg"', ""), (script.name, word)


async def events(bench: ViewBench, *topics: str) -> dict[str, str]:
    """The first bodies of these topics."""
    found: dict[str, str] = {}
    async with bench.client.get("/events") as stream:
        topic = ""
        async for raw in stream.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                topic = line[7:]
            elif line.startswith("data: ") and topic in topics:
                found[topic] = line[6:]
            if len(found) == len(topics):
                break
    return found


async def test_pages_are_told_of_the_cluster_as_it_changes(view: ViewBench) -> None:
    seen = await events(view, "cluster", "user", "collector")
    assert '"state":"ok"' in seen["cluster"]
    assert '"is_admin":true' in seen["user"]
    assert '"state":"off"' in seen["collector"]


async def test_without_a_daemon_the_last_rows_stay_and_say_so(view: ViewBench) -> None:
    first = await view.view.live.look()
    view.view.paths.control_socket.unlink()
    then = await view.view.live.look()
    assert (then["state"], then["nodes"]) == ("no-daemon", first["nodes"])
    status, body = await view.order("/api/nodes/2/set", {"name": "stay", "value": True})
    assert (status, body["error"]["code"]) == (503, "no-daemon")
    listed = await view.get("/api/processes")
    assert "start omdiscd" in listed["failure"]
    assert listed["all"] > 0


async def test_a_daemon_without_number_is_a_state_of_its_own(view: ViewBench) -> None:
    view.control.answers["node.table"] = lambda _args: {"node": 0, "yardstick": 15000, "nodes": []}
    assert (await view.view.live.look())["state"] == "not-configured"


async def test_a_switch_of_one_node(view: ViewBench) -> None:
    status, body = await view.order("/api/nodes/2/set", {"name": "stay", "value": True})
    assert (status, body["done"]) == (200, [2])
    assert view.control.asked_for("admin.set") == [{"node": 2, "name": "stay", "value": True}]


async def test_all_nodes_are_ordered_and_failures_are_told(view: ViewBench) -> None:
    def answer(args: dict[str, Any]) -> dict[str, Any]:
        if args["node"] == 2:
            raise MosixError("no-response", "no response from node #2", 5)
        return {"already": False}

    view.control.answers["admin.set"] = answer
    status, body = await view.order("/api/nodes/all/set", {"name": "block", "value": False})
    assert (status, body) == (200, {"done": [1], "failed": {"2": "no response from node #2"}})
    assert {args["node"] for args in view.control.asked_for("admin.set")} == {1, 2}  # node 3 is down


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/nodes/2/set", {"name": "rm", "value": True}),
        ("/api/nodes/2/set", {"name": "stay", "value": "yes"}),
        ("/api/nodes/2/set", {"name": "speed", "value": 0}),
        ("/api/nodes/2/set", {"name": "speed", "value": True}),
        ("/api/nodes/99999/set", {"name": "stay", "value": True}),
        ("/api/nodes/x/set", {"name": "stay", "value": True}),
        ("/api/nodes/2/do", {"action": "halt"}),
        ("/api/nodes/2/set", ["stay"]),
        ("/api/runs", {"command": ""}),
        ("/api/collector", {"order": "burn"}),
    ],
)
async def test_orders_that_make_no_sense_reach_nobody(view: ViewBench, path: str, body: Any) -> None:
    status, answer = await view.order(path, body)
    assert status == 400
    assert answer["error"]["message"]
    assert [verb for verb, _ in view.control.asked if verb.startswith("admin")] == []


async def test_a_body_that_is_too_long_or_no_json_is_refused(view: ViewBench) -> None:
    headers = {"Origin": view.origin, "Content-Type": "application/json"}
    assert (await view.client.post("/api/runs", data=b"[" * 100_000, headers=headers)).status == 413
    assert (await view.client.post("/api/runs", data=b"[" * 50_000, headers=headers)).status == 400
    assert (await view.client.post("/api/runs", data=b"\xff\xfe", headers=headers)).status == 400


async def test_what_the_user_may_not_do_is_said(tmp_path: Path) -> None:
    async with view_bench(tmp_path, STRANGER) as bench:
        await bench.unlock()
        assert '"is_admin":false' in (await events(bench, "user"))["user"]
        rows = (await bench.get("/api/processes?sort=pid&down=0"))["rows"]
        assert all("you are eva" in row["why_not"] for row in rows)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a name that would be markup."""
    program = [sys.executable, "-c", "print(flush=True); import sys; sys.stdin.read()", "<img src=x onerror=alert(1)>"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.read(1)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def start_of(view: ViewBench, pid: int) -> int:
    found = await view.get(f"/api/processes/{pid}")
    assert found["explain"]["error"]["code"] == "unknown-verb"
    start: int = found["row"]["start"]
    same_process(pid, start)
    return start


async def test_a_move_is_ordered_followed_and_told(view: ViewBench, sleeper: subprocess.Popen[bytes]) -> None:
    view.control.progress["migrate"] = [{"phase": "memory", "bytes": 4096}]
    start = await start_of(view, sleeper.pid)
    path = f"/api/processes/{sleeper.pid}/migrate"
    assert (await view.order(path, {"start": start, "to": 2}))[0] == 202
    seen = await eventually(lambda: said_moved(view))
    assert "moved to node 2, frozen for 3 ms" in seen
    assert view.control.asked_for("migrate") == [{"pid": sleeper.pid, "to": 2}]


async def said_moved(view: ViewBench) -> str | None:
    seen = await events(view, "moves")
    return seen["moves"] if '"state":"done"' in seen["moves"] else None


async def test_a_pid_that_is_another_process_now_is_left_alone(
    view: ViewBench, sleeper: subprocess.Popen[bytes]
) -> None:
    start = await start_of(view, sleeper.pid)
    for action, body in (("signal", {"name": "SIGKILL"}), ("migrate", {"to": 2}), ("renice", {"value": 5})):
        path = f"/api/processes/{sleeper.pid}/{action}"
        status, answer = await view.order(path, {"start": start + 1} | body)
        assert (status, answer["error"]["code"]) == (404, "no-such-process")
    assert sleeper.poll() is None
    assert view.control.asked_for("migrate") == []


async def test_signals_nice_values_and_locks(view: ViewBench, sleeper: subprocess.Popen[bytes]) -> None:
    view.control.answers["process.set"] = lambda args: {"pid": args["pid"], "lock": True}
    base, start = f"/api/processes/{sleeper.pid}", await start_of(view, sleeper.pid)
    assert (await view.order(f"{base}/renice", {"start": start, "value": 7}))[0] == 200
    assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == 7
    assert (await view.order(f"{base}/lock", {"start": start, "value": True}))[0] == 200
    assert view.control.asked_for("process.set") == [{"pid": sleeper.pid, "set": {"lock": 1}}]
    assert (await view.order(f"{base}/signal", {"start": start, "name": "SIGSEGV"}))[0] == 400
    assert (await view.order(f"{base}/signal", {"start": start, "name": "SIGTERM"}))[0] == 200
    assert await asyncio.to_thread(sleeper.wait, 60) == -15


async def test_markup_in_a_name_stays_text(view: ViewBench, sleeper: subprocess.Popen[bytes]) -> None:
    listed = await view.client.get("/api/processes?text=onerror")
    assert listed.content_type == "application/json"
    [row] = [row for row in (await listed.json())["rows"] if row["pid"] == sleeper.pid]
    assert row["command"].endswith("<img src=x onerror=alert(1)>")
    assert command_line(sleeper.pid) == row["command"]


async def test_exit_ends_the_session(view: ViewBench) -> None:
    assert (await view.order("/api/exit", {}))[0] == 200
    assert (await view.client.get("/")).status == 401
