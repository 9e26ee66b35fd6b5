"""A few rows of the conformance suite, the ones that hold the rest: `make conformance` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from tests.conformance.conversation import Run, install
from tests.conformance.rows import Row, all_rows, build, chosen

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]

ROWS = [
    ("registers/avx", "away, home"),
    ("signals/realtime", "away, home"),
    ("clocks/posix_timer", "away, home"),
    ("threads/own_state", "away, home"),
    ("memory/mapped", "away, home"),
    ("files/shared_offset", "away, home"),
    ("pipes/in_flight", "away, home"),
    ("identity/ids", "away, home"),
]


@pytest.fixture(scope="module")
def rows(whole_run_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    built: Path = tmp_path_factory.mktemp("conformance")
    build(built)
    install(whole_run_cluster.nodes[1], built)
    return {row.title: row for row in chosen(all_rows(built), [title for title, _ in ROWS])}


@pytest.mark.parametrize(("title", "way"), ROWS, ids=[title for title, _ in ROWS])
def test_it_holds(home: Node, rows: dict[str, Row], title: str, way: str) -> None:
    verdict = Run(home, rows[title], way).verdict()
    assert (verdict.result, verdict.text) == ("pass", "")


def test_what_is_refused_goes_on_at_home(home: Node, rows: dict[str, Row]) -> None:
    refused = Row("memory", "locked", ("root",), "")
    verdict = Run(home, refused, "away").verdict()
    assert verdict.result == "refused"
    assert "mem_lock" in verdict.text
