"""The image walker, against images built by an encoder of its own."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrated.criu import images, timers
from migrated.criu.interrupted import begin_calls_again

U64 = st.integers(0, 2**64 - 1)
IDS = st.integers(1, 2**22)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def field(number: int, kind: int, value: int | bytes) -> bytes:
    key = varint(number << 3 | kind)
    if kind == 0:
        assert isinstance(value, int)
        return key + varint(value)
    assert isinstance(value, bytes)
    return key + (varint(len(value)) + value if kind == 2 else value)


def image(path: Path, *entries: bytes) -> None:
    path.write_bytes(b"\x23\x65\x54\x54kind" + b"".join(struct.pack("<I", len(entry)) + entry for entry in entries))


def task(pid: int, ppid: int, pgid: int, sid: int, threads: bytes) -> bytes:
    return b"".join(field(n, 0, v) for n, v in enumerate((pid, ppid, pgid, sid), 1)) + threads


FIELDS = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 500), st.just(0), U64),
        st.tuples(st.integers(1, 500), st.just(2), st.binary(max_size=200)),
        st.tuples(st.integers(1, 500), st.just(1), st.binary(min_size=8, max_size=8)),
        st.tuples(st.integers(1, 500), st.just(5), st.binary(min_size=4, max_size=4)),
    )
)


@given(FIELDS)
@settings(derandomize=True, deadline=None)
def test_every_field_is_read_back(fields: list[tuple[int, int, int | bytes]]) -> None:
    assert list(images.fields(b"".join(field(*entry) for entry in fields))) == fields


@given(FIELDS, st.dictionaries(st.integers(1, 500), U64, max_size=5))
@settings(derandomize=True, deadline=None)
def test_only_the_named_numbers_change(fields: list[tuple[int, int, int | bytes]], values: dict[int, int]) -> None:
    message = b"".join(field(*entry) for entry in fields)
    expected = [(number, kind, values.get(number, value) if kind == 0 else value) for number, kind, value in fields]
    assert list(images.fields(images.set_varints(message, values))) == expected
    assert images.set_varints(message, {}) == message


@given(st.binary(max_size=300))
@settings(derandomize=True, deadline=None)
def test_garbage_is_a_value_error_or_fields(raw: bytes) -> None:
    try:
        for _, _, value in images.fields(raw):
            assert isinstance(value, int | bytes)
    except ValueError:
        pass


@given(U64)
@settings(derandomize=True, deadline=None)
def test_varints(value: int) -> None:
    assert images.write_varint(value) == varint(value)
    assert images.read_varint(varint(value) + b"rest", 0) == (value, len(varint(value)))


def test_the_tree_of_tasks(tmp_path: Path) -> None:
    image(
        tmp_path / "pstree.img",
        task(10, 0, 10, 5, field(5, 0, 10) + field(5, 0, 11)),
        task(12, 10, 10, 5, field(5, 2, varint(12) + varint(300))),
    )
    assert images.tasks(str(tmp_path)) == [
        images.Task(10, 0, 10, 5, (10, 11)),
        images.Task(12, 10, 10, 5, (12, 300)),
    ]
    assert images.taken_ids(str(tmp_path)) == {5, 10, 11, 12, 300}


def test_pending_signals_in_order(tmp_path: Path) -> None:
    def queue(*numbers: int) -> bytes:
        infos = [struct.pack("=i", number).ljust(128, b"\0") for number in numbers]
        return b"".join(field(1, 2, field(1, 2, info)) for info in infos)

    core = field(5, 2, field(9, 2, queue(12))) + field(3, 2, field(10, 2, queue(10, 40, 40)))
    image(tmp_path / "core-7.img", core)
    pending = images.pending_signals(str(tmp_path), 7)
    assert [images.signal_number(info) for info in pending] == [10, 40, 40, 12]


@pytest.mark.parametrize(
    ("call", "result", "begun_again"), [(35, -4, True), (7, -4, True), (232, -4, True), (0, -4, False), (35, 0, False)]
)
def test_an_interrupted_sleep_is_begun_again(tmp_path: Path, call: int, result: int, begun_again: bool) -> None:
    def registers(ax: int, ip: int) -> bytes:
        return field(1, 0, 5) + field(11, 0, ax % (1 << 64)) + field(16, 0, call) + field(17, 0, ip)

    def core(gpregs: bytes) -> bytes:
        return field(1, 0, 1) + field(2, 2, field(1, 0, 77) + field(2, 2, gpregs)) + field(5, 2, field(1, 0, 3))

    waiting = field(3, 2, field(10, 2, field(1, 2, field(1, 2, struct.pack("=i", 10).ljust(128, b"\0")))))
    image(tmp_path / "core-7.img", core(registers(result, 1000)) + waiting)
    assert begin_calls_again(str(tmp_path)) == 0, "a handler that is to run may rely on EINTR"
    image(tmp_path / "core-7.img", core(registers(result, 1000)))
    assert begin_calls_again(str(tmp_path)) == int(begun_again)
    expected = registers(call, 998) if begun_again else registers(result, 1000)
    assert images.read_entries(str(tmp_path / "core-7.img")) == [core(expected)]
    assert [path.name for path in tmp_path.iterdir()] == ["core-7.img"]


@pytest.mark.parametrize(
    ("pending", "imaged", "timer", "expected"),
    [
        ([14], [], (0, 20, 0, 0), (0, 20, 0, 1)),
        ([14], [], (0, 0, 0, 0), (0, 0, 0, 1)),
        ([14], [14], (0, 20, 0, 0), (0, 20, 0, 20)),
        ([14], [14], (0, 0, 0, 0), (0, 0, 0, 0)),
        ([], [], (0, 0, 0, 0), (0, 0, 0, 0)),
        ([14], [], (0, 20, 5, 7), (0, 20, 5, 7)),
    ],
)
def test_a_timer_that_ran_out_during_the_dump_fires(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pending: list[int],
    imaged: list[int],
    timer: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    def core(values: tuple[int, ...]) -> bytes:
        entry = b"".join(field(number, 0, value) for number, value in enumerate(values, 1))
        infos = b"".join(field(1, 2, field(1, 2, struct.pack("=i", signo).ljust(128, b"\0"))) for signo in imaged)
        return field(3, 2, field(7, 2, field(1, 2, entry)) + field(10, 2, infos))

    monkeypatch.setattr(timers, "_pending_now", lambda pid: set(pending))
    image(tmp_path / "pstree.img", task(7, 0, 7, 7, field(5, 0, 7)), task(9, 7, 7, 7, field(5, 0, 9)))
    image(tmp_path / "core-7.img", core(timer))
    child = field(3, 2, field(7, 2, field(1, 2, b"".join(field(number, 0, 0) for number in (1, 2, 3, 4)))))
    image(tmp_path / "core-9.img", child)
    timers.fire_lost_timers(str(tmp_path), 7)
    assert images.read_entries(str(tmp_path / "core-7.img")) == [core(expected)]
    assert images.read_entries(str(tmp_path / "core-9.img")) == [child], "its parent's signal is not its own"


def test_the_sender_of_a_plain_kill() -> None:
    info = struct.pack("=iiiiiI", 10, 0, 0, 0, 77, 1000).ljust(128, b"\0")
    assert images.sender_uid(info) == 1000
    assert images.sender_uid(struct.pack("=iiiiiI", 2, 0, 0x80, 0, 77, 1000).ljust(128, b"\0")) == 0


def test_terminals_forget_their_session(tmp_path: Path) -> None:
    images.forget_terminal_session(str(tmp_path))  # no terminal: nothing to do
    entry = field(1, 0, 3) + field(6, 0, 70000) + field(7, 0, 300) + field(8, 2, b"termios")
    image(tmp_path / "tty-info.img", entry)
    images.forget_terminal_session(str(tmp_path))
    assert [list(images.fields(entry)) for entry in images.read_entries(str(tmp_path / "tty-info.img"))] == [
        [(1, 0, 3), (6, 0, 0), (7, 0, 0), (8, 2, b"termios")]
    ]


@pytest.mark.parametrize("tail", [b"\1", b"\5\0\0\0ab", b"\xff\xff\xff\xff"])
def test_a_short_file_is_named(tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pstree.img"
    path.write_bytes(b"12345678" + tail)
    with pytest.raises(ValueError, match=r"pstree\.img"):
        images.tasks(str(tmp_path))
