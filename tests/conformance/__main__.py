"""`python -m tests.conformance`: run the rows on a virtual cluster and print (or write) the table."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from omlab.cluster import Cluster
from omlab.kernel import reset_ignored_internal_signals
from tests.conformance.conversation import WAYS, Run, Verdict, install
from tests.conformance.rows import Row, all_rows, build, chosen
from tests.conformance.table import unexpected, write_table

BUILD = Path("build/conformance")


def main() -> int:
    """Run what was asked for; the status is 1 when a row failed that is no known difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--row", action="append", default=[], metavar="GROUP[/NAME]", help="only these (repeatable)")
    parser.add_argument("--way", action="append", default=[], choices=list(WAYS), help="only these ways")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time (default: 2)")
    parser.add_argument("--write", action="store_true", help="write the table of docs/TRANSPARENCY.md")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--logs", action="store_true", help="print the daemons' logs at the end")
    parser.add_argument("--name", default="conf", help="name of the virtual cluster")
    options = parser.parse_args()
    build(BUILD)
    known = all_rows(BUILD)
    rows = chosen(known, options.row)
    if options.list:
        for row in rows:
            print(f"{row.title:32} {row.holds}")
        return 0
    reset_ignored_internal_signals()
    verdicts = run(rows, options.way or list(WAYS), options.name, options.jobs, logs=options.logs)
    if options.write:
        write_table(known, verdicts)
    counts = {word: sum(v.result == word for found in verdicts.values() for v in found.values()) for word in WORDS}
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    for row in unexpected(verdicts):
        print(f"not a known difference: {row.title}")
    return 1 if unexpected(verdicts) else 0


WORDS = ("pass", "refused", "fail")


def run(rows: list[Row], ways: list[str], name: str, jobs: int, *, logs: bool = False) -> dict[Row, dict[str, Verdict]]:
    """Run every row along every way on a cluster of three nodes.  Blocks."""
    verdicts: dict[Row, dict[str, Verdict]] = {row: {} for row in rows}
    with Cluster(3, name=name) as cluster:
        home = cluster.nodes[1]
        for node in cluster.nodes.values():
            node.wait_for(
                lambda node=node: node.run(["showmap"], check=False).stdout.count("10.77.0.") == 3, "three nodes"
            )
            node.run(["mosctl", "stay"])  # only what the runner asks for is moved
        install(home, BUILD)

        def one(row: Row) -> Row:
            for way in ways:
                verdicts[row][way] = Run(home, row, way).verdict()
            return row

        began = time.monotonic()
        with ThreadPoolExecutor(jobs) as pool:
            for row in pool.map(one, rows):
                _print(row, verdicts[row], time.monotonic() - began)
        if logs:
            print(cluster.logs())
    return verdicts


def _print(row: Row, found: dict[str, Verdict], seconds: float) -> None:
    words = " ".join(f"{found[way].result + ('*' if found[way].behind else ''):8}" for way in found)
    print(f"{seconds:5.0f} {row.title:32} {words}", flush=True)
    for text in dict.fromkeys(f"{verdict.result}: {verdict.text}" for verdict in found.values() if verdict.text):
        ways = [way for way, verdict in found.items() if f"{verdict.result}: {verdict.text}" == text]
        print(f"        {text}  [{'; '.join(ways)}]", flush=True)


if __name__ == "__main__":
    sys.exit(main())
