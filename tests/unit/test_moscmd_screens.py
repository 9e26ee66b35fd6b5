"""What mosmon, mps and mtop show: charts for any size, the extra column, columns of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moscmd.mosmon_chart import MB, MIN_HEIGHT, MIN_WIDTH, View, chart, per_screen, scrolled
from moscmd.mps import with_column
from moscmd.mtop_text import HEADER, Choice, chosen, row_text
from moscmd.process_places import Place, Places
from moscmd.process_table import Process
from moscmd.process_use import with_true_use


def node(number: int, load: int = 100, up: bool = True) -> dict[str, Any]:
    if not up:
        return {"node": number, "address": "10.77.0.1", "up": False, "status": 1}
    return {
        "node": number, "address": "10.77.0.1", "up": True, "status": 3, "load": load, "speed": 15000, "cpus": 2,
        "util": 200, "mem": 600 * MB, "rmem": 100 * MB, "tmem": 1000 * MB,
    }  # fmt: skip


def text_of(rows: list[dict[str, Any]], view: View, width: int = 80, height: int = 24) -> list[str]:
    return ["".join(piece.text for piece in line) for line in chart(rows, view, width, height, 15000)]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.integers(0, 500),
    st.sampled_from(["load", "log", "speed", "memory", "raw", "util"]),
    st.sampled_from("awvV"),
    st.integers(1, 250),
    st.integers(1, 80),
    st.integers(-5, 600),
)
def test_a_chart_of_any_size_fits_its_screen(
    count: int, quantity: str, numbering: str, width: int, height: int, first: int
) -> None:
    rows = [node(65535 - number, number * 7, up=number % 5 != 4) for number in range(count)]
    view = View(quantity, True, True, True, numbering, first)
    lines = text_of(rows, view, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    if count and width >= MIN_WIDTH and height >= MIN_HEIGHT:
        assert any("[Total" in line for line in lines)


def test_the_picture_of_loads() -> None:
    lines = text_of([node(1, 200), node(2, 100), node(3, 0), node(4, up=False)], View("load", with_dead=True))
    assert lines[0].startswith("   2.00 |")
    columns = [sum(line[14 + 8 * index : 17 + 8 * index] == "###" for line in lines) for index in range(4)]
    assert columns[0] - 2 * columns[1] in (0, 1)
    assert columns[1] > 5
    assert columns[2] == 0
    assert "".join(line[40:].strip()[:1] for line in lines if line[40:].strip()[:1] in "DEAD").startswith("DEAD")
    assert lines[-1].startswith("[Total 3] [CPUs 6] [Dead 1]")


def test_a_small_value_is_still_seen() -> None:
    lines = text_of([node(1, 10000), node(2, 1)], View())
    assert sum("####" in line[17:25] for line in lines) == 1


def test_memory_shows_used_and_total() -> None:
    lines = "\n".join(text_of([node(1)], View("memory")))
    assert lines.count("####") > 0
    assert lines.count("++++") > lines.count("####")


def test_an_idle_cluster_and_an_unconfigured_one() -> None:
    assert any("IDLE" in line for line in text_of([node(1, 0)], View()))
    assert "Not Configured" in text_of([], View())[0]


def test_scrolling_stays_within_the_nodes() -> None:
    rows = [node(number) for number in range(1, 101)]
    view = View(numbering="w")
    page = per_screen(rows, view, 80)
    assert scrolled(view, rows, 80, -1).first == 0
    last = scrolled(view, rows, 80, 1000)
    assert last.first == 100 - page
    assert text_of(rows, replace(last))[-1].endswith("of 100]")


PLACES = Places({7: Place(3, 2), 4194303: Place(65535)})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "    PID TTY          TIME CMD\n      7 pts/0    00:00:01 sh\n4194303 ?        00:00:00 a b\n",
            "    PID TTY         N#     TIME CMD\n      7 pts/0        3 00:00:01 sh\n"
            "4194303 ?        65535 00:00:00 a b\n",
        ),
        (
            "USER       PID %CPU TTY      STAT COMMAND\nroot         1  0.0 ?        Ss   init x\n"
            "averylonguser+ 7 100 verylongtty/0 R sh\n",
            "USER       PID %CPU TTY         N# STAT COMMAND\nroot         1  0.0 ?            0 Ss   init x\n"
            "averylonguser+ 7 100 verylongtty/0     3 R sh\n",
        ),
        ("  PID COMMAND\n    7 sh\n", "  PID    N# COMMAND\n    7     3 sh\n"),
        ("COMMAND\nsh\n", "COMMAND\nsh\n"),
        ("", ""),
    ],
)
def test_the_column_of_mps(text: str, shown: str) -> None:
    assert with_column(text, PLACES) == shown


def test_mps_shows_what_a_process_away_uses() -> None:
    titles = ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "N#", "STAT", "START", "TIME", "COMMAND"]
    line = "om           7  0.0  0.0   2920    52 ?            3 S    07:20   0:00 sleep 0.0 52"
    use = {"TIME": "01:02:03", "%CPU": "99.5", "RSS": "65536", "%MEM": "12.5"}
    shown = "om           7 99.5 12.5   2920 65536 ?            3 S    07:20  62:03 sleep 0.0 52"
    assert with_true_use(line, titles, use) == shown
    assert with_true_use("      7 ?            3 00:00:00 sleep", ["PID", "TTY", "N#", "TIME", "CMD"], use) == (
        "      7 ?            3 01:02:03 sleep"
    )
    assert with_true_use(line, titles, {}) == line


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet="PID TTY7 \n?x", max_size=200))
def test_any_output_of_ps_keeps_its_lines(text: str) -> None:
    assert len(with_column(text, PLACES).splitlines()) == len(text.splitlines())


def process(pid: int, **changes: Any) -> Process:
    plain = Process(pid, "alice", 0, 0, False, "S", 20, 0, 5 << 20, 3 << 20, 0.0, 0.1, 61.5, "sh")
    return replace(plain, **changes)


def test_rows_of_mtop_stand_below_their_titles() -> None:
    row = row_text(process(7, node=3, lock=True, cpu_percent=99.5, command="x\x1b[31m"))
    assert row[: HEADER.index("USER")].split() == ["7"]
    assert row[HEADER.index("USER") + 4 : HEADER.index("N#") + 2].split() == ["e", "3"]
    assert row[HEADER.index(" S L ") : HEADER.index(" S L ") + 4] == " S L"
    assert row[HEADER.index("COMMAND") :] == r"x\x1b[31m"


def test_choices_of_mtop() -> None:
    rows = [process(1, cpu_percent=5.0), process(2, node=4), process(3, user="bob", rss_bytes=9 << 30)]
    assert [row.pid for row in chosen(rows, Choice())] == [1, 2, 3]
    assert [row.pid for row in chosen(rows, Choice("node"))] == [2, 1, 3]
    assert [row.pid for row in chosen(rows, Choice("mem", is_reversed=True))] == [2, 1, 3]
    assert [row.pid for row in chosen(rows, Choice(user="bob"))] == [3]
    assert [row.pid for row in chosen(rows, Choice(with_idle=False))] == [1]
    assert chosen(rows, Choice(pattern="nothing")) == []
