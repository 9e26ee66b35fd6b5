"""The pure parts of a homecoming: layout, descriptors, signals that must not come twice, malformed messages."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from migrated.deputy import blob
from migrated.deputy.body_state import OpenFile
from migrated.deputy.channel import parse_signal
from migrated.deputy.descriptor_plan import follow_renames, plan_descriptors
from migrated.deputy.layout import Grow, Map, Protect, Unmap, layout_reasons, layout_steps
from migrated.deputy.mappings import Mapping, parse_mappings, without
from migrated.deputy.pending import PendingFilter
from migrated.deputy.revive import armed

P = 4096


def anonymous(first: int, last: int, flags: str = "rw-p", name: str = "") -> Mapping:
    return Mapping(first * P, last * P, flags, 0, 0, name)


def mapped(first: int, last: int, path: str, page: int = 0, flags: str = "r--p") -> Mapping:
    return Mapping(first * P, last * P, flags, page * P, 7, path)


def test_equal_layouts_need_nothing() -> None:
    both = [anonymous(1, 3), mapped(4, 6, "/lib/x", 2)]
    assert layout_steps(both, both) == []


def test_every_kind_of_difference() -> None:
    home = [anonymous(1, 5), mapped(8, 10, "/lib/x"), anonymous(90, 99, name="[stack]")]
    body = [
        anonymous(1, 2),
        anonymous(2, 3, "r--p"),
        anonymous(6, 7),
        mapped(8, 9, "/lib/x"),
        mapped(9, 10, "/lib/y", 5),
        anonymous(80, 99, name="[stack]"),
    ]
    assert layout_steps(home, body) == [
        Unmap(3 * P, 5 * P),
        Protect(2 * P, 3 * P, 1),
        Map(6 * P, 7 * P, 3, "", 0, False),
        Map(9 * P, 10 * P, 1, "/lib/y", 5 * P, False),
        Grow(80 * P, 90 * P),
    ]


def test_the_file_system_may_number_its_files_otherwise() -> None:
    home, body = mapped(1, 3, "/lib/x", 1), Mapping(P, 3 * P, "r--p", P, 99, "/lib/x")
    assert layout_steps([home], [body]) == []


def test_what_cannot_be_laid_out_is_said() -> None:
    vdso = anonymous(50, 52, "r-xp", "[vdso]")
    assert layout_reasons([vdso], [vdso, anonymous(1, 2)]) == []
    assert layout_reasons([vdso], [anonymous(60, 62, "r-xp", "[vdso]")])
    assert layout_reasons([], [anonymous(1, 2, "rw-s")]) == ["shared memory"]
    assert layout_reasons([], [mapped(1, 2, "/tmp/x (deleted)")])


def test_ranges_are_cut_out_of_mappings() -> None:
    assert without([mapped(1, 6, "/x", 10)], (2 * P, 3 * P)) == [mapped(1, 2, "/x", 10), mapped(3, 6, "/x", 12)]


def test_paths_with_spaces() -> None:
    (found,) = parse_mappings("1000-2000 r--s 00003000 08:01 42    /a b/c (deleted)\n")
    assert (found.name, found.offset, found.protection, found.is_shared) == ("/a b/c (deleted)", 0x3000, 1, True)


def entry(fd: int, link: str, kind: str = "file", offset: int = 0, twin: int | None = None) -> OpenFile:
    return OpenFile(fd, link, kind, os.O_RDWR, offset, fd if twin is None else twin, [])


def test_descriptors_that_stayed_opened_closed_and_copied() -> None:
    home = [entry(0, "pipe:[1]", "pipe"), entry(3, "/a"), entry(4, "/b")]
    body = [
        entry(0, "pipe:[9]", "pipe"),
        entry(3, "/a", offset=7),
        entry(5, "/c"),
        entry(6, "/c", twin=5),
        entry(7, "pipe:[9]", "pipe", twin=0),
    ]
    plan = plan_descriptors(home, body)
    assert plan.reasons == []
    assert (plan.closes, [o.fd for o in plan.opens], plan.twins) == ([4], [5], [(5, 6), (0, 7)])
    assert [(o.fd, o.offset) for o in plan.seeks] == [(3, 7)]


def test_pipes_made_while_away_stay_away() -> None:
    assert plan_descriptors([], [entry(3, "pipe:[5]", "pipe")]).reasons
    assert plan_descriptors([entry(0, "pipe:[1]", "pipe")], [entry(0, "socket:[5]", "socket")]).reasons


def test_relays_are_known_by_name_when_told() -> None:
    home, body = [entry(0, "pipe:[1]", "pipe")], [entry(4, "pipe:[9]", "pipe")]
    plan = plan_descriptors(home, body, {"pipe:[9]": 0})
    assert (plan.reasons, plan.copies, plan.closes) == ([], [(0, 4)], [0])
    assert plan_descriptors(home, [entry(0, "pipe:[8]", "pipe")], {"pipe:[9]": 0}).reasons


def test_a_copy_of_a_deleted_file_is_not_the_original() -> None:
    home, body = entry(3, "/tmp/x (deleted)"), entry(3, "/tmp/x (deleted)")
    assert plan_descriptors([home], [body]).reasons == []
    body.inode = 8
    assert plan_descriptors([home], [body]).reasons == ["it opened /tmp/x (deleted) while away"]


def test_an_interval_timer_whose_signal_is_pending_goes_on() -> None:
    assert armed(struct.pack("4q", 0, 20, 0, 7)) == struct.pack("4q", 0, 20, 0, 7)
    assert armed(struct.pack("4q", 0, 20, 0, 0)) == struct.pack("4q", 0, 20, 0, 20)


def test_the_place_in_a_directory_is_kept() -> None:
    home = [entry(5, "/d", "directory", offset=0)]
    plan = plan_descriptors(home, [entry(5, "/d", "directory", offset=77)])
    assert [(seek.fd, seek.offset) for seek in plan.seeks] == [(5, 77)]


@pytest.mark.parametrize(
    ("inode_at_home", "followed"),
    [(None, True), (8, True), (7, False)],
    ids=["the old name is gone", "another file has it", "the file has both names"],
)
def test_a_file_renamed_at_home_is_the_same_file(inode_at_home: int | None, followed: bool) -> None:
    home, body = [entry(3, "/new", "file")], [entry(3, "/old", "file"), entry(4, "/else", "file")]
    for file in (*home, *body):
        file.inode = 7
    follow_renames(home, body, lambda path: inode_at_home)
    assert [file.link for file in body] == ["/new" if followed else "/old", "/else"]
    body[0].inode, body[0].link = 9, "/old"
    follow_renames(home, body, lambda path: None)
    assert body[0].link == "/old"


def test_a_signal_in_the_image_is_not_delivered_twice() -> None:
    given = PendingFilter([10, 40, 40, 40])
    arrived = [10, 12, 40, 40, 40, 40, 10]
    assert [signo for signo in arrived if given.passes(signo, 0)] == [12, 40, 10]


def test_timers_that_ran_off_in_the_frozen_original_are_dropped() -> None:
    given = PendingFilter([], [(14, 0x80), (40, -2), (10, 0)])
    assert not given.passes(14, 0x80)
    assert given.passes(14, 0x80)
    assert not given.passes(40, -2)
    assert given.passes(10, 0)


@pytest.mark.parametrize("message", [b"", b"x" * 127, bytes(128), struct.pack("=I", 65) + bytes(124)])
def test_malformed_signals_are_nothing(message: bytes) -> None:
    assert parse_signal(message) is None


def test_a_forwarded_signal_keeps_its_sender_and_value() -> None:
    message = bytearray(128)
    struct.pack_into("=IiiII", message, 0, 34, 0, -1, 77, 1000)
    struct.pack_into("=Q", message, 48, 0x1234)
    found = parse_signal(bytes(message))
    assert found is not None
    assert (found.signo, found.code, found.sender_pid, found.sender_uid, found.value) == (34, -1, 77, 1000, 0x1234)
    assert struct.unpack_from("=iiiiIIQ", found.raw) == (34, 0, -1, 0, 77, 1000, 0x1234)


def test_the_committed_code_is_what_the_source_says(tmp_path: Path) -> None:
    assert len(blob.CODE) < 4000
    assert blob.CODE[blob.SITE_OFFSET : blob.SITE_OFFSET + 2] == b"\x0f\x05"
    compilers = [shutil.which(name) for name in ("gcc", "ld", "objcopy", "nm")]
    if not all(compilers):
        return
    room = Path(blob.__file__).parent
    for command in (
        [*blob.COMPILE.split(), str(room / "blob.c"), "-o", "blob.o"],
        ["ld", "-T", str(room / "blob.ld"), "blob.o", "-o", "blob.elf"],
        ["objcopy", "-O", "binary", "-j", ".text", "blob.elf", "blob.bin"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    built = (tmp_path / "blob.bin").read_bytes()
    assert len(built) < 4000
    version = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, timeout=60, check=True)
    if version.stdout.strip() != blob.COMPILER_VERSION:
        return
    assert built == blob.CODE
    names = subprocess.run(["nm", "blob.elf"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    symbols = {m[2]: int(m[1], 16) for m in re.finditer(r"^(\w+) \w (\w+)$", names.stdout, re.M)}
    assert (symbols["run"], symbols["park"]) == (blob.RUN_OFFSET, blob.PARK_OFFSET)
