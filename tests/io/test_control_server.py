"""The control socket against clients that send nonsense, nothing, too much, or never read."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omdiscd.control import server as control_server
from omdiscd.control.registry import Caller, Registry
from omdiscd.control.server import CONNECTIONS_PER_UID, LINE_LIMIT_BYTES, ControlServer
from omprotocol import control
from omprotocol.errors import MosixError
from omprotocol.paths import Paths
from tests.support.interpreter import PYTHON

DEADLINE_S = 30.0
NOBODY = 65534


class Served:
    """A running server and what its handlers saw."""

    def __init__(self, paths: Paths, server: ControlServer, registry: Registry) -> None:
        self.paths = paths
        self.server = server
        self.registry = registry
        self.release = asyncio.Event()
        self.entered = asyncio.Event()

    async def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        """Ask as a command would."""
        return await asyncio.to_thread(control.request, verb, args, timeout_s=DEADLINE_S, paths=self.paths)

    async def raw(self, data: bytes) -> list[Any]:
        """Send bytes, end sending, and return the answer lines."""
        answer = await asyncio.to_thread(_exchange, self.paths.control_socket, data, True)
        return [json.loads(line) for line in answer.splitlines()]


def _exchange(path: Path, data: bytes, ends_sending: bool) -> bytes:
    """Send bytes and return all that comes back, however the other side ends it. Blocks."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
            if ends_sending:
                client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                answer += chunk
    return answer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        paths = Paths(run_dir=Path(directory))
        registry = Registry()
        server = ControlServer(paths.control_socket, registry, idle_s=DEADLINE_S, write_s=DEADLINE_S)
        this = Served(paths, server, registry)

        async def echo(caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
            for step in range(args.get("steps", 0)):
                await caller.progress({"step": step})
            return {"uid": caller.uid, "args": args}

        async def wait(_caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
            this.entered.set()
            await this.release.wait()
            return {}

        async def fail(_caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
            if args.get("kindly"):
                raise MosixError("no-such-process", "No such process (7).", 4)
            raise RuntimeError("a bug")

        registry.add("echo", echo, "anyone")
        registry.add("wait", wait, "anyone")
        registry.add("fail", fail, "anyone")
        registry.add("secret", echo, "admin")
        ready = asyncio.Event()
        task = asyncio.create_task(server.run(ready))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ready.wait()
            yield this
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert not paths.control_socket.exists()


async def test_a_request_is_answered(served: Served) -> None:
    assert await served.ask("echo", word="hello") == {"uid": os.geteuid(), "args": {"word": "hello"}}


async def test_progress_comes_before_the_answer(served: Served) -> None:
    seen: list[dict[str, Any]] = []
    await asyncio.to_thread(control.request, "echo", {"steps": 3}, seen.append, DEADLINE_S, served.paths)
    assert seen == [{"step": 0}, {"step": 1}, {"step": 2}]


async def test_one_connection_carries_several_requests(served: Served) -> None:
    line = json.dumps({"v": 1, "verb": "echo", "args": {}}).encode() + b"\n"
    answers = await served.raw(line * 3)
    assert [answer["ok"] for answer in answers] == [True, True, True]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b"\n",
        b"[]\n",
        b'{"v":1}\n',
        b'{"v":2,"verb":"echo","args":{}}\n',
        b'{"v":1,"verb":7,"args":{}}\n',
        b'{"v":1,"verb":"echo","args":[]}\n',
        b"\xff\xfe\x00\n",
        b"[" * 60000 + b"\n",
        b'{"v":1,"verb":"echo","args":{"a":' + b"[" * 30000 + b"]" * 30000 + b"}}\n",
        b"x" * (LINE_LIMIT_BYTES * 3),
    ],
)
async def test_nonsense_gets_one_error_and_the_end(served: Served, data: bytes) -> None:
    answers = await served.raw(data)
    assert [answer["ok"] for answer in answers] in ([False], [])
    assert await served.ask("echo") == {"uid": os.geteuid(), "args": {}}


async def test_nothing_and_half_a_line_hurt_nobody(served: Served) -> None:
    assert await served.raw(b"") == []
    assert await served.raw(b'{"v":1,"ver') == []
    await served.ask("echo")


async def test_errors_reach_the_caller_and_bugs_stay_inside(served: Served) -> None:
    with pytest.raises(MosixError) as kind:
        await served.ask("fail", kindly=True)
    assert (kind.value.code, kind.value.exit_status) == ("no-such-process", 4)
    with pytest.raises(MosixError) as bug:
        await served.ask("fail")
    assert bug.value.code == "internal"
    with pytest.raises(MosixError) as unknown:
        await served.ask("no-such-verb")
    assert unknown.value.code == "unknown-verb"


async def test_an_idle_client_is_hung_up_on() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "control"
        ready = asyncio.Event()
        task = asyncio.create_task(ControlServer(path, Registry(), idle_s=0.05).run(ready))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ready.wait()
            answer = json.loads(await asyncio.to_thread(_exchange, path, b'{"v":1,', False))
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert answer["error"]["code"] == "bad-request"


async def test_a_client_that_never_reads_is_hung_up_on() -> None:
    gone = asyncio.Event()

    async def pour(caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        while not caller.is_gone:
            await caller.progress({"text": "x" * 60000})
        gone.set()
        return {}

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "control"
        registry, ready = Registry(), asyncio.Event()
        registry.add("pour", pour, "anyone")
        task = asyncio.create_task(ControlServer(path, registry, write_s=0.1).run(ready))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ready.wait()
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                    client.sendall(b'{"v":1,"verb":"pour","args":{}}\n')
                    await gone.wait()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_one_user_cannot_take_all_connections(served: Served) -> None:
    clients: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(CONNECTIONS_PER_UID):
                reader, writer = await asyncio.open_unix_connection(str(served.paths.control_socket))
                clients.append(writer)
                writer.write(b'{"v":1,"verb":"echo","args":{}}\n')
                assert json.loads(await reader.readline())["ok"]
            refused = await served.raw(b"")
            assert refused[0]["error"]["code"] == "busy"
            assert served.server.refused_connections == 1
            clients.pop().transport.abort()
            while served.server._open.total() >= CONNECTIONS_PER_UID:
                await asyncio.sleep(0)
            await served.ask("echo")
    finally:
        for writer in clients:
            writer.transport.abort()


async def test_a_slow_request_does_not_delay_others(served: Served) -> None:
    slow = asyncio.create_task(served.ask("wait"))
    async with asyncio.timeout(DEADLINE_S):
        await served.entered.wait()
        await served.ask("echo")
        served.release.set()
        await slow


@pytest.mark.root
async def test_an_ordinary_user_is_known_by_the_kernels_word(served: Served) -> None:
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        "s.sendall(sys.argv[2].encode() + b'\\n')\n"
        "print(s.makefile().readline())\n"
    )

    def as_nobody(verb: str) -> Any:
        request = json.dumps({"v": 1, "verb": verb, "args": {"uid": 0}})
        output = subprocess.run(
            [PYTHON, "-c", script, str(served.paths.control_socket), request],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            check=True,
            capture_output=True,
            timeout=DEADLINE_S,
        ).stdout
        return json.loads(output)

    answer = await asyncio.to_thread(as_nobody, "echo")
    assert answer["result"]["uid"] == NOBODY
    refused = await asyncio.to_thread(as_nobody, "secret")
    assert (refused["error"]["code"], refused["error"]["exit"]) == ("permission", 3)
    served.server.admin_gid = NOBODY
    assert (await asyncio.to_thread(as_nobody, "secret"))["ok"]


def test_without_a_daemon_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MosixError) as missing:
        control.request("showmap", paths=Paths(run_dir=tmp_path))
    assert (missing.value.code, missing.value.exit_status) == ("no-daemon", 6)
    assert "\n" not in missing.value.message


def test_the_limits_are_those_promised() -> None:
    assert LINE_LIMIT_BYTES == 64 << 10
    assert control_server.CONNECTIONS_IN_ALL >= CONNECTIONS_PER_UID
