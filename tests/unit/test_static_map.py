"""The grammar of the node map and every check that refuses a table."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omprotocol.errors import MosixError
from omprotocol.static_map import (
    MapAlias,
    MapRange,
    StaticMap,
    check_map,
    map_of,
    own_node,
    pack_map,
    parse_map,
    render_map,
    unpack_map,
)

HOSTS = {"om1": "192.168.0.1", "broken": "300.1.1.1"}
ADDRESS = st.integers(1, 2**32 - 1).map(IPv4Address)
TABLES = st.builds(
    StaticMap,
    st.lists(st.builds(MapRange, st.integers(-2, 70000), ADDRESS, st.integers(1, 9)), max_size=5).map(tuple),
    st.lists(st.builds(MapAlias, st.integers(0, 20), ADDRESS), max_size=3).map(tuple),
)


def read(text: str) -> StaticMap:
    return parse_map(text, HOSTS.get)


def test_the_example_of_the_how_to() -> None:
    table = read("# MOSIX-#  IP  number-of-nodes\n\n1 192.168.0.1 5\n")
    assert [str(address) for _, address in table.nodes()][-1] == "192.168.0.5"
    assert table.address_of(3) == IPv4Address("192.168.0.3")
    assert table.node_at(IPv4Address("192.168.0.4")) == 4
    assert table.node_at(IPv4Address("192.168.0.6")) is None
    assert table.total == 5


def test_aliases_tabs_case_names_and_zero_counts() -> None:
    table = read("\t1\tom1\t2\n 2 10.0.0.2  ALIAS\n1 10.0.0.1 0\n")
    assert table.node_at(IPv4Address("10.0.0.2")) == 2
    assert table.node_at(IPv4Address("10.0.0.1")) == 1
    assert table.address_of(1) == IPv4Address("192.168.0.1")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("1 192.168.0.1\n", "Bad Table Input: 1 192.168.0.1"),
        ("one 192.168.0.1 1\n", "Bad Table Input"),
        ("1 192.168.0.1 five\n", "Bad Table Input"),
        ("1 192.168.0.1 5 6\n", "Bad Table Input"),
        ("1 192.168.0.999 1\n", "Bad Table Input"),
        ("1 broken 1\n", "Bad Table Input"),
        ("1 nowhere 1\n", "not known"),
        ("0 192.168.0.1 1\n", "begin at 1"),
        ("-3 192.168.0.1 1\n", "begin at 1"),
        ("1 192.168.0.1 -1\n", "Negative count"),
        ("65536 192.168.0.1 1\n", "above the maximum"),
        ("65535 192.168.0.1 2\n", "above the maximum"),
        ("1 255.255.255.250 10\n", "wrap around"),
        ("1 192.168.0.1 5\n3 10.0.0.1 1\n", "Conflicting node numbers"),
        ("1 192.168.0.1 5\n9 192.168.0.5 1\n", "Conflicting IP ranges"),
        ("1 192.168.0.1 5\n9 10.0.0.1 alias\n", "not in the table"),
        ("1 192.168.0.1 5\n2 192.168.0.3 alias\n", "inside a range"),
        ("1 192.168.0.1 5\n2 10.0.0.1 alias\n3 10.0.0.1 alias\n", "Two aliases"),
        ("".join(f"{n} 10.0.{n // 200}.{n % 200} 1\n" for n in range(1, 258)), "Table size too big"),
        ("1 192.168.0.1 " + "9" * 600 + "\n", "Bad Table Input"),
    ],
)
def test_inconsistent_tables_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(MosixError, match=complaint):
        read(text)


def test_256_entries_are_still_possible() -> None:
    assert read("".join(f"{n} 10.0.{n // 200}.{n % 200} 1\n" for n in range(1, 257))).total == 256


def test_own_address() -> None:
    table = read("1 192.168.0.1 5\n")
    assert own_node(table, IPv4Address("192.168.0.2")) == 2
    with pytest.raises(MosixError, match=r"my IP address \(127.0.0.1\) is not there.*hosts"):
        own_node(table, IPv4Address("127.0.0.1"))
    with pytest.raises(MosixError, match=r"is 0\.0\.0\.0"):
        own_node(table, IPv4Address("0.0.0.0"))


@settings(derandomize=True, deadline=None)
@given(TABLES)
def test_a_table_is_refused_or_survives_both_forms(table: StaticMap) -> None:
    try:
        check_map(table)
        pack_map(table)
    except MosixError:
        return
    assert read(render_map(table)) == table
    assert unpack_map(pack_map(table)) == table
    numbers = [node for node, _ in table.nodes()]
    assert len(set(numbers)) == len(numbers)
    for node, address in table.nodes():
        assert table.node_at(address) == node


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_map_or_a_bad_map(text: str) -> None:
    try:
        read(text)
    except MosixError as error:
        code = error.code
    else:
        code = "bad-map"
    assert code == "bad-map"


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_a_table_or_a_bad_map(data: bytes) -> None:
    try:
        unpack_map(data)
    except MosixError as error:
        code = error.code
    else:
        code = "bad-map"
    assert code == "bad-map"


def test_binary_records_have_the_layout_of_the_original() -> None:
    data = pack_map(read("1 192.168.0.1 5\n2 10.0.0.1 alias\n"))
    assert len(data) == 48
    assert data[:24].hex() == "0100000002000000c0a80001" + "00" * 8 + "05000000"
    assert data[24:].hex() == "02000000020000000a000001" + "00" * 8 + "00000000"


def test_single_nodes_are_joined_into_ranges() -> None:
    nodes = [(n, IPv4Address(f"10.77.0.{n}")) for n in (3, 1, 2, 9)]
    table = map_of(nodes)
    assert table is not None
    assert render_map(table) == "1 10.77.0.1 3\n9 10.77.0.9 1\n"
    assert map_of([]) is None
