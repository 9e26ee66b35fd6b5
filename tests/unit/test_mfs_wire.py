"""The FUSE codec: round trips, framing, and refusal of what is malformed."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrated.mfs import fuse_structs, fuse_wire
from migrated.mfs.fuse_constants import InitFlag, Opcode
from migrated.mfs.fuse_init import (
    INIT_IN,
    INIT_OUT,
    InitChoice,
    VersionRefused,
    agree,
    parse_init,
)
from migrated.mfs.fuse_structs import Layout, WireError

# Sizes by include/uapi/linux/fuse.h, without the parts of variable length.
SIZES = {
    "HEADER": 40,
    "REPLY_HEADER": 16,
    "ATTR": 88,
    "ENTRY_HEAD": 40,
    "ATTR_HEAD": 16,
    "GETATTR_IN": 16,
    "SETATTR_IN": 88,
    "MKNOD_IN": 16,
    "MKDIR_IN": 8,
    "RENAME_IN": 8,
    "RENAME2_IN": 16,
    "LINK_IN": 8,
    "OPEN_IN": 8,
    "CREATE_IN": 16,
    "OPEN_OUT": 16,
    "RELEASE_IN": 24,
    "FLUSH_IN": 24,
    "READ_IN": 40,
    "WRITE_IN": 40,
    "WRITE_OUT": 8,
    "STATFS_OUT": 80,
    "FSYNC_IN": 16,
    "SETXATTR_IN": 8,
    "GETXATTR_IN": 8,
    "GETXATTR_OUT": 8,
    "ACCESS_IN": 8,
    "INTERRUPT_IN": 8,
    "FALLOCATE_IN": 32,
    "DIRENT_HEAD": 24,
    "LSEEK_IN": 24,
    "LSEEK_OUT": 8,
    "COPY_FILE_RANGE_IN": 56,
    "FORGET_IN": 8,
    "BATCH_FORGET_IN": 8,
    "FORGET_ONE": 16,
    "POLL_IN": 24,
    "POLL_OUT": 8,
}
LAYOUTS = {name: value for name, value in vars(fuse_structs).items() if isinstance(value, Layout)}
quick = settings(derandomize=True, deadline=None, max_examples=60)


def test_every_structure_has_the_kernels_size() -> None:
    assert {name: layout.size for name, layout in LAYOUTS.items()} == SIZES
    assert (INIT_IN.size, INIT_OUT.size) == (64, 64)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_structures_round_trip_and_refuse_short_data(name: str) -> None:
    layout = LAYOUTS[name]
    count = len(inspect.signature(layout._type).parameters)
    values = tuple(range(1, count + 1))
    data = layout.pack(*values)
    assert layout.unpack(b"xyz" + data, 3) == values
    with pytest.raises(WireError):
        layout.unpack(data[:-1])


@quick
@given(st.sampled_from(Opcode), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=99))
def test_requests_round_trip(opcode: Opcode, unique: int, nodeid: int, body: bytes) -> None:
    message = fuse_wire.request(opcode, unique, nodeid, body, uid=1, gid=2, pid=3)
    header = fuse_structs.HEADER.unpack(message)
    assert header == (len(message), opcode, unique, nodeid, 1, 2, 3, 0)
    assert fuse_wire.message_length(message) == len(message)
    assert message[fuse_wire.HEADER_BYTES :] == body


@quick
@given(st.integers(1, 2**64 - 1), st.integers(1, 4095), st.binary(max_size=99))
def test_replies_are_framed(unique: int, error: int, body: bytes) -> None:
    good, bad = fuse_wire.reply(unique, body), fuse_wire.error_reply(unique, error)
    assert fuse_structs.REPLY_HEADER.unpack(good) == (16 + len(body), 0, unique)
    assert fuse_structs.REPLY_HEADER.unpack(bad) == (16, -error, unique)


@quick
@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)))
def test_names_follow_each_other(names: list[bytes]) -> None:
    body = b"".join(name + b"\0" for name in names)
    offset, found = 0, []
    while offset < len(body):
        name, offset = fuse_wire.name_at(memoryview(body), offset)
        found.append(name)
    assert found == names
    with pytest.raises(WireError):
        fuse_wire.name_at(b"no end")


@quick
@given(st.binary(min_size=1, max_size=255), st.integers(0, 2**64 - 1), st.integers(0, 15))
def test_directory_entries_are_aligned(name: bytes, position: int, kind: int) -> None:
    entry = fuse_wire.dirent(7, position, kind, name)
    assert len(entry) == fuse_wire.dirent_bytes(name)
    assert len(entry) % 8 == 0
    assert fuse_structs.DIRENT_HEAD.unpack(entry) == (7, position, len(name), kind)
    assert fuse_wire.dirent_plus(None, 7, position, kind, name) == bytes(fuse_wire.ENTRY_BYTES) + entry


@quick
@given(st.integers(0, 0xFFF), st.integers(0, 0xFFFFF))
def test_device_numbers_round_trip(major: int, minor: int) -> None:
    encoded = fuse_wire.encode_dev(major, minor)
    assert 0 <= encoded < 2**32
    assert fuse_wire.decode_dev(encoded) == (major, minor)


def test_forgets_in_a_batch_and_a_count_that_lies() -> None:
    body = b"\2\0\0\0\0\0\0\0" + fuse_structs.FORGET_ONE.pack(5, 1) + fuse_structs.FORGET_ONE.pack(6, 2)
    assert list(fuse_wire.forgets(body)) == [(5, 1), (6, 2)]
    with pytest.raises(WireError):
        list(fuse_wire.forgets(b"\3" + body[1:]))


def test_init_takes_only_what_the_kernel_offers() -> None:
    offered = InitFlag.INIT_EXT | InitFlag.ASYNC_READ | InitFlag.REQUEST_TIMEOUT
    offer = parse_init(INIT_IN.pack(7, 45, 65536, offered & 0xFFFFFFFF, offered >> 32))
    assert offer.flags == offered
    wanted = InitFlag.ASYNC_READ | InitFlag.POSIX_ACL
    agreement = agree(offer, InitChoice(wanted, max_write=1 << 17, request_timeout_s=60))
    answer = INIT_OUT.unpack(agreement.body)
    assert agreement.flags == InitFlag.INIT_EXT | InitFlag.ASYNC_READ | InitFlag.REQUEST_TIMEOUT
    assert (answer.max_write, answer.max_pages, answer.request_timeout) == (1 << 17, 32, 60)
    assert answer.max_readahead == 65536
    assert answer.flags | answer.flags2 << 32 == agreement.flags


def test_init_of_older_and_newer_kernels() -> None:
    old = parse_init(INIT_IN.pack(7, 31, 1, 0xFFFFFFFF, 0)[:16])
    assert agree(old, InitChoice(InitFlag.ASYNC_READ)).minor == 31
    with pytest.raises(VersionRefused):
        agree(old._replace(minor=8), InitChoice(InitFlag.ASYNC_READ))
    assert INIT_OUT.unpack(agree(old._replace(major=8), InitChoice(InitFlag(0))).body).major == 7
    with pytest.raises(WireError):
        parse_init(b"short")
