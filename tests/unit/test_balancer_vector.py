"""The load vector on the wire, and the gossip that carries it."""

from __future__ import annotations

import math

import msgspec
import pytest

from balancer.draw import Draw
from balancer.gossip import OPENMOSIX_PLAN, Gossip, GossipPlan
from balancer.vector import (
    BLOCK,
    ENTRY_BYTES,
    HEADER_BYTES,
    MAX_ENTRIES_PER_MESSAGE,
    LoadEntry,
    VectorError,
    absurdity,
    decode,
    encode,
    stamp,
)


def entry(node: int, sequence: int = 1, **changes: object) -> LoadEntry:
    good = LoadEntry(node, stamp(7, sequence), 1.5, 2.0, 15000, 2.0, 1048576.0 * 4096, 1048576.0 * 1024, 200, BLOCK)
    return msgspec.structs.replace(good, **changes)


def test_round_trip() -> None:
    data = encode(5, [(entry(5), 0.25), (entry(9), 12.0)], wants_answer=True)
    message = decode(data)
    assert (message.sender, message.wants_answer) == (5, True)
    assert message.entries == ((entry(5), 0.25), (entry(9), 12.0))
    assert ENTRY_BYTES <= 100
    assert HEADER_BYTES + 32 * ENTRY_BYTES <= 1400


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" * 46, encode(1, [(entry(1), 0.0)])[:-1], bytes(6)])
def test_what_is_no_vector_is_refused(data: bytes) -> None:
    with pytest.raises(VectorError):
        decode(data)


def test_too_many_entries_are_refused_before_they_are_sent() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        encode(1, [(entry(1), 0.0)] * (MAX_ENTRIES_PER_MESSAGE + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"load": -1.0},
        {"load": math.nan},
        {"load": 1e18},
        {"load": math.inf},
        {"upper": -0.1},
        {"cpus": 0.0},
        {"cpus": 1e18},
        {"speed": 0},
        {"mem_total": math.nan},
        {"mem_total": 1e18},
        {"mem_free": -5.0},
        {"mem_free": 1e18},
    ],
)
def test_absurd_values_are_named_and_never_passed_on(changes: dict[str, float]) -> None:
    bad = entry(3, 2, **changes)
    assert absurdity(bad)
    gossip = Gossip(1, GossipPlan())
    gossip.publish(entry(1), 10.0)
    assert gossip.merge([(bad, 0.0)], 10.0) == []
    assert gossip.absurd[3][1] == absurdity(bad)
    assert [e.node for e, _ in gossip.message(10.0)] == [1]
    over_the_wire = decode(encode(3, [(bad, 0.0)])).entries[0][0]
    assert absurdity(over_the_wire)


def test_a_true_entry_clears_the_absurd_one() -> None:
    gossip = Gossip(1, GossipPlan())
    gossip.merge([(entry(3, 2, load=-1.0), 0.0)], 10.0)
    gossip.merge([(entry(3, 3), 0.0)], 11.0)
    assert not gossip.absurd
    assert 3 in gossip.table


def test_newest_entries_first_and_the_others_in_turn() -> None:
    gossip = Gossip(1, GossipPlan(window=4, oldest=2))
    gossip.publish(entry(1), 100.0)
    gossip.merge([(entry(node), float(node)) for node in range(2, 12)], 100.0)
    sent = [[e.node for e, _ in gossip.message(100.0)] for _ in range(4)]
    assert all(nodes[:4] == [1, 2, 3, 4] for nodes in sent)
    assert {node for nodes in sent for node in nodes[4:]} == set(range(5, 12))
    assert gossip.message(100.0)[3][1] == pytest.approx(4.0)


def test_stamps_decide_and_ages_count_from_arrival() -> None:
    gossip = Gossip(1, GossipPlan())
    assert gossip.merge([(entry(2, 5), 3.0)], 10.0, transit_s=1.0)
    assert gossip.table[2][1] == 6.0
    assert gossip.merge([(entry(2, 4), 0.0)], 11.0) == []
    assert gossip.merge([(entry(2, 5), 0.0)], 11.0) == []


def test_one_message_per_period_whatever_the_clock_does() -> None:
    gossip = Gossip(1, GossipPlan(), phase=0.5)
    assert [gossip.due(now) for now in (0.0, 0.4, 0.5, 0.9, 1.5)] == [False, False, True, False, True]
    assert [gossip.due(now) for now in (1000.0, 1000.1)] == [True, False]
    assert [gossip.due(now) for now in (5.0, 5.5, 5.6)] == [False, True, False]


def test_a_stamp_from_an_earlier_life_is_noticed() -> None:
    gossip = Gossip(1, GossipPlan())
    gossip.publish(entry(1, 1), 0.0)
    gossip.merge([(entry(1, 99), 1.0)], 1.0)
    assert gossip.refute == entry(1, 99).stamp
    assert 1 not in gossip.table


def test_the_table_is_capped_and_forgets_the_oldest() -> None:
    gossip = Gossip(1, OPENMOSIX_PLAN)
    gossip.merge([(entry(node), 20.0 - node) for node in range(2, 14)], 100.0)
    assert sorted(gossip.table) == list(range(7, 14))
    gossip.expire(1000.0)
    assert not gossip.table


def test_draws_are_the_same_for_the_same_seed() -> None:
    assert [Draw(3).below(10) for _ in range(5)] == [Draw(3).below(10)] * 5
    draw = Draw(1)
    values = [draw.random() for _ in range(2000)]
    assert 0.48 < sum(values) / 2000 < 0.52
    assert sorted(Draw(9).sample(range(6), 9)) == list(range(6))
