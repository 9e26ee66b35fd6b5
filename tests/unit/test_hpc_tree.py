"""The hpc tree's pure parts: paths, inode numbers, orders, errnos."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.hpc.errno_of import errno_of
from omdiscd.hpc.inodes import Inodes
from omdiscd.hpc.order import must_be_one, numbers, one
from omdiscd.hpc.tree import Directory, File, Fixed, Numbered, Visitor, find
from omprotocol.errors import MosixError

ME = Visitor(1000, 1000, 42)


def tree() -> Directory:
    numbered = Numbered(
        lambda: [42, 7], lambda n: n in (42, 7), lambda n: Fixed({"pid": File(0o444, lambda _v: f"{n}\n")}), "self"
    )
    return Fixed({"pid": numbered, "file": File(0o444, lambda _v: "x\n")})


def test_names_are_found_anew_and_self_is_the_visitor() -> None:
    root = tree()
    assert isinstance(find(root, ("pid", "7", "pid"), ME), File)
    mine = find(root, ("pid", "self", "pid"), ME)
    assert isinstance(mine, File)
    assert mine.read is not None
    assert mine.read(ME) == "42\n"
    pids = find(root, ("pid",), ME)
    assert isinstance(pids, Directory)
    assert list(pids.names(ME)) == ["7", "42"]


@pytest.mark.parametrize(
    "path", [("nothing",), ("file", "below"), ("pid", "8"), ("pid", "007"), ("pid", "-7"), ("pid", "٧"), ("pid", "")]
)
def test_what_is_not_there_is_not_found(path: tuple[str, ...]) -> None:
    assert find(tree(), path, ME) is None
    assert find(tree(), ("pid", "self"), Visitor(0, 0, 0)) is None


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 3)), max_size=30))
def test_inodes_live_as_long_as_their_look_ups(steps: list[tuple[str, int]]) -> None:
    table = Inodes()
    counts: dict[str, int] = {}
    for name, amount in steps:
        if counts.get(name, 0) < 3:
            number = table.look_up((name,))
            counts[name] = counts.get(name, 0) + 1
            assert table.path(number) == (name,)
        else:
            number = table.look_up((name,))
            table.forget(number, 1)
            table.forget(number, min(amount, counts[name]))
            counts[name] -= min(amount, counts[name])
    assert len(table) == 1 + sum(1 for count in counts.values() if count)


def test_a_forgotten_inode_is_stale() -> None:
    table = Inodes()
    number = table.look_up(("a",))
    table.forget(number, 5)
    with pytest.raises(OSError, match="unknown"):
        table.path(number)
    table.forget(1, 10)
    assert table.path(1) == ()


def test_orders() -> None:
    assert one("block", "1\n") == 1
    assert one("goto", " -1 \n") == -1
    assert numbers("own", "900 5\n", 2) == [900, 5]
    for text in ("", "abc", "1 2", "1.0", "0x1", "1\n2", "99999999999999", "١"):
        with pytest.raises(MosixError):
            one("block", text)
    with pytest.raises(MosixError):
        must_be_one("expel", "0")


def test_errnos() -> None:
    assert errno_of(MosixError("improper-value", "", 2)) == errno.EINVAL
    assert errno_of(MosixError("permission", "", 3)) == errno.EACCES
    assert errno_of(MosixError("never heard of", "", 5)) == errno.ETIMEDOUT
    assert errno_of(MosixError("never heard of", "")) == errno.EIO
