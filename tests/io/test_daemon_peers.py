"""Calls between nodes: only nodes of the cluster, only the node that was meant, and bounds for everybody else."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from omdiscd.io import peer_server
from omdiscd.io.peer_server import CONNECTIONS_PER_ADDRESS, PeerCaller, PeerRegistry, PeerServer
from omprotocol import peer
from omprotocol.certificates import Identity, server_context
from omprotocol.errors import MosixError, PeerRefused, PeerUnreachable
from omprotocol.frames import FRAME_LIMIT_BYTES, FrameError, encode_frame, read_frame

DEADLINE_S = 30.0
KEY = bytes(range(32))


@pytest.fixture
async def server() -> AsyncIterator[PeerServer]:
    registry = PeerRegistry()

    async def echo(caller: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        return {"from": caller.node, "address": caller.address, "args": args}

    async def refuse(_caller: PeerCaller, _args: dict[str, Any]) -> dict[str, Any]:
        raise MosixError("busy", "Not now.", 3)

    async def fail(_caller: PeerCaller, _args: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("a bug")

    async def never(_caller: PeerCaller, _args: dict[str, Any]) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    for name, handler in (("echo", echo), ("refuse", refuse), ("fail", fail), ("never", never)):
        registry.add(name, handler)
    this = PeerServer("127.0.0.1", 0, server_context(Identity.create(KEY, 1)), registry)
    ready = asyncio.Event()
    task = asyncio.create_task(this.run(ready))
    try:
        async with asyncio.timeout(DEADLINE_S):
            await ready.wait()
        yield this
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _call(server: PeerServer, verb: str, node: int = 1, key: bytes = KEY, **args: Any) -> dict[str, Any]:
    identity = Identity.create(key, 2)
    return await peer.call("127.0.0.1", server.port, identity, node, verb, args, DEADLINE_S)


async def test_a_call_names_the_caller_and_carries_bytes(server: PeerServer) -> None:
    answer = await _call(server, "echo", data=b"\0\xff")
    assert answer == {"from": 2, "address": "127.0.0.1", "args": {"data": b"\0\xff"}}


async def test_another_node_than_the_one_meant_is_refused(server: PeerServer) -> None:
    with pytest.raises(PeerRefused):
        await _call(server, "echo", node=3)


async def test_another_cluster_key_is_refused(server: PeerServer) -> None:
    with pytest.raises(PeerRefused):
        await _call(server, "echo", key=os.urandom(32))


async def test_errors_of_the_other_side_arrive(server: PeerServer) -> None:
    for verb, code in (("refuse", "busy"), ("fail", "internal"), ("nothing", "unknown-verb")):
        with pytest.raises(MosixError) as error:
            await _call(server, verb)
        assert error.value.code == code


async def test_a_peer_that_does_not_answer_is_unreachable(server: PeerServer) -> None:
    with pytest.raises(PeerUnreachable) as error:
        await peer.call("127.0.0.1", server.port, Identity.create(KEY, 2), 1, "never", {}, 0.5)
    assert error.value.exit_status == 5


async def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port, identity = unused.getsockname()[1], Identity.create(KEY, 2)
        with pytest.raises(PeerUnreachable) as error:
            await peer.call("127.0.0.1", port, identity, 1, "echo", {}, DEADLINE_S)
    assert error.value.exit_status == 4


async def test_garbage_and_silence_cost_a_bounded_number_of_connections(
    server: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_server, "HANDSHAKE_S", DEADLINE_S)
    writers = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(CONNECTIONS_PER_ADDRESS):
                _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writers.append(writer)
            while server._open.total() < CONNECTIONS_PER_ADDRESS:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writers.append(writer)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert server.refused_connections == 1
            for writer in writers:
                with contextlib.suppress(OSError):
                    writer.write(os.urandom(500))
                    writer.write_eof()
            while server._open.total():
                await asyncio.sleep(0.01)
            assert (await _call(server, "echo"))["from"] == 2
    finally:
        for writer in writers:
            writer.transport.abort()


async def test_frames_that_are_none_are_refused() -> None:
    good = encode_frame({"a": 1})
    cases = [
        (FRAME_LIMIT_BYTES + 1).to_bytes(4, "big"),
        b"\0\0",
        good[:-1],
        b"\0\0\0\1\xc1",
        b"\0\0\0\1\x07",
        (2000).to_bytes(4, "big") + b"\x91" * 2000,
    ]
    for data in cases:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        with pytest.raises(FrameError):
            await read_frame(reader)
    reader = asyncio.StreamReader()
    reader.feed_data(good)
    reader.feed_eof()
    assert await read_frame(reader) == {"a": 1}
    assert await read_frame(reader) is None
