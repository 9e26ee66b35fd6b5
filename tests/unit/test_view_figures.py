"""What the pages show, computed: figures of the main table, pages of processes, metrics, orders for mosrun."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from omprotocol.errors import MosixError
from openmosixview.collector.sampler import seen_moves
from openmosixview.core.cluster_figures import cluster_figures, efficiency
from openmosixview.core.metrics_text import metrics_text
from openmosixview.core.process_page import MAX_ROWS, Wanted, page_of
from openmosixview.runs import mosrun_words
from openmosixview.sessions import MAX_SESSIONS, TOKEN_LIFE_S, Sessions
from tests.support.view_bench import down_row, node_row


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], 100),
        ([(2, 0.0), (2, 0.0)], 100),
        ([(1, 1.0), (1, 0.0), (1, 0.0)], 100),  # one process cannot be spread
        ([(1, 2.0), (1, 0.0)], 50),  # one of two waits although a node is free
        ([(1, 3.0), (1, 3.0)], 100),  # all wait, none could be better off elsewhere
        ([(4, 1.0), (1, 4.0)], 70),
    ],
)
def test_efficiency_is_the_share_of_work_that_is_placed_well(nodes: list[tuple[int, float]], expected: int) -> None:
    assert efficiency(nodes) == expected


def test_the_row_of_all_nodes_counts_those_that_are_up() -> None:
    table = {"node": 1, "yardstick": 15000, "nodes": [down_row(3), node_row(2, load=100, cpus=3), node_row(1)]}
    figures = cluster_figures(table, {3: "failed"})
    assert [row["node"] for row in figures["nodes"]] == [1, 2, 3]
    assert figures["all"] == {
        "efficiency": 100,
        "load_percent": 75,
        "used_percent": 60,
        "total_bytes": 2000,
        "used_bytes": 1200,
        "cpus": 4,
        "up": 2,
        "nodes": 3,
    }
    assert figures["nodes"][2]["state"] == "failed"


def test_the_load_of_a_fast_node_is_a_load_of_processes() -> None:
    # One process on each of two processors of double speed, told in units of a yardstick of 30000.
    table = {"node": 1, "yardstick": 30000, "nodes": [node_row(1, load=100, speed=30000, cpus=2, status=3 | 4 | 32)]}
    row = cluster_figures(table)["nodes"][0]
    assert (row["busy"], row["load_percent"], row["flags"]) == (1.0, 100, ["stay", "quiet"])


def test_rows_that_make_no_sense_are_shown_as_zero() -> None:
    table = {"node": "x", "yardstick": 0, "nodes": [None, {"node": -1, "up": 1, "load": "9", "tmem": True}, 7]}
    figures = cluster_figures(table)
    assert figures["own_node"] == 0
    assert [(row["up"], row["load_percent"], row["total_bytes"]) for row in figures["nodes"]] == [(False, 0, 0)]


@dataclass(frozen=True)
class Row:
    pid: int
    user: str = "om"
    node: int = 0
    nmigs: int = 0
    cpu_percent: float = 0.0
    rss_bytes: int = 0
    time_s: float = 0.0
    command: str = "job"
    state: str = "S"
    nice: int = 0


def test_ten_thousand_processes_come_in_pages() -> None:
    rows = [Row(pid, cpu_percent=float(pid % 7), node=pid % 3) for pid in range(1, 10_001)]
    first, total = page_of(rows, Wanted())
    assert (len(first), total) == (MAX_ROWS, 10_000)
    assert [row.pid for row in first[:3]] == [6, 13, 20]  # equal ones stay in the order of their numbers
    last, _ = page_of(rows, Wanted(sort="pid", descending=False, offset=10**9))
    assert [last[0].pid, last[-1].pid] == [9801, 10_000]
    away, count = page_of(rows, Wanted(node=-1, sort="pid", descending=False))
    assert (away[0].pid, count) == (1, 6667)


def test_processes_are_filtered_by_text_user_and_node() -> None:
    rows = [Row(10, "eva", command="Simulate"), Row(101, "om", 2), Row(7, "om", command="<b>simulate</b>")]
    assert [row.pid for row in page_of(rows, Wanted(text="SIMUL", sort="pid", descending=False))[0]] == [7, 10]
    assert [row.pid for row in page_of(rows, Wanted(text="10", sort="nonsense", descending=False))[0]] == [10, 101]
    assert [row.pid for row in page_of(rows, Wanted(user="om", node=2))[0]] == [101]
    assert page_of([], Wanted(offset=400)) == ([], 0)


def test_metrics_have_base_units_and_no_pids() -> None:
    table = {"node": 1, "yardstick": 15000, "nodes": [node_row(1, load=50, status=3 | 16), down_row(2)]}
    text = metrics_text({"state": "ok"} | cluster_figures(table), processes_away=3, guests=None)
    lines = text.splitlines()
    assert 'openmosix_node_load_ratio{node="1",address="10.77.0.1"} 0.5' in lines
    assert 'openmosix_node_up{node="2",address="10.77.0.2"} 0' in lines
    assert 'openmosix_node_switch{node="1",address="10.77.0.1",switch="block"} 1' in lines
    assert "openmosix_processes_away 3" in lines
    assert "pid" not in text
    assert metrics_text({"state": "no-daemon"}, None, None).endswith("openmosix_daemon_up 0\n")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"command": "make -j8"}, ["-l", "--", "make", "-j8"]),
        ({"command": "echo 'a b'", "place": "home", "decay": "cpu"}, ["-h", "-c", "--", "echo", "a b"]),
        ({"command": "x", "place": "nodes", "nodes": "1-3, 7", "force": True}, ["-j1-3,7", "-F", "--", "x"]),
        ({"command": "-rm x", "place": "nomig"}, ["-L", "--", "-rm", "x"]),
        (
            {
                "command": "x",
                "place": "nodes",
                "nodes": "2",
                "unlock": True,
                "decay": "slow",
                "once": True,
                "own_only": 1,
            },
            ["-j2", "-l", "-s", "-e", "--", "x"],
        ),
        ({"command": "x", "decay": "own", "rate": 900, "interval_s": 5}, ["-l", "-d900", "-t5", "--", "x"]),
    ],
)
def test_orders_become_words_for_mosrun(order: dict[str, object], words: list[str]) -> None:
    assert mosrun_words(order) == words


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"command": " "},
        {"command": "echo 'half"},
        {"command": "x\0y"},
        {"command": "x", "place": "moon"},
        {"command": "x", "place": "nodes", "nodes": "1;2"},
        {"command": "x", "place": "nodes", "nodes": "-F"},
        {"command": "x", "decay": "never"},
        {"command": "x", "decay": ["slow"]},
        {"command": "x", "decay": "own"},
        {"command": "x", "decay": "own", "rate": 1001, "interval_s": 1},
        {"command": ["x"]},
    ],
)
def test_orders_that_make_no_sense_start_nothing(order: dict[str, object]) -> None:
    with pytest.raises(MosixError):
        mosrun_words(order)


def test_moves_are_seen_between_two_lists() -> None:
    before = {1: (2, 1), 2: (3, 1), 3: (2, 1)}
    now = {1: (2, 1), 2: (2, 2), 4: (3, 1)}
    assert seen_moves(before, now) == [(2, 3, 2), (3, 2, 0), (4, 0, 3)]


def test_a_token_opens_one_browser_once_and_not_for_ever() -> None:
    now = 0.0
    sessions = Sessions(lambda: now)
    token = sessions.new_token()
    cookie = sessions.exchange(token)
    assert cookie is not None
    assert sessions.is_known(cookie)
    assert sessions.exchange(token) is None
    late = sessions.new_token()
    now = TOKEN_LIFE_S
    assert sessions.exchange(late) is None
    assert sessions.exchange("") is None
    assert not sessions.is_known("")
    sessions.forget(cookie)
    assert not sessions.is_known(cookie)


def test_the_oldest_session_goes_when_there_are_too_many() -> None:
    now = 0.0
    sessions = Sessions(lambda: now)
    cookies = []
    for _ in range(MAX_SESSIONS + 1):
        now += 1
        cookies.append(sessions.exchange(sessions.new_token()) or "")
    assert not sessions.is_known(cookies[0])
    assert all(sessions.is_known(cookie) for cookie in cookies[1:])


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((Path(__file__).parents[2] / "packaging/grafana/openmosix.json").read_text())
    table = {"node": 1, "yardstick": 15000, "nodes": [node_row(1)]}
    text = metrics_text({"state": "ok"} | cluster_figures(table), 0, 0)
    known = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    asked = {
        name for panel in dashboard["panels"] for name in re.findall(r"openmosix_\w+", panel["targets"][0]["expr"])
    }
    assert asked <= known
