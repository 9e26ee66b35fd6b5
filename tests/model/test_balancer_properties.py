"""Whatever arrives, the balancer neither raises nor believes nonsense, and decides the same thing again."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.decide import choose
from balancer.events import LeaseAsked, MembersChanged, ProcessSample, Tick, VectorReceived
from balancer.facts import Move, OwnFacts, PeerFacts, ProcessFacts, View
from balancer.leases import LeaseAsk
from balancer.migration_cost import MoveCost
from balancer.node import BalancerCore
from balancer.policies import POLICIES
from balancer.settings import Settings
from balancer.vector import LoadEntry, VectorError, absurdity, decode, encode

FIXED = settings(derandomize=True, deadline=None, max_examples=60)
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
SIZE = st.floats(0, 4e9)
ENTRY = st.builds(
    LoadEntry,
    node=st.integers(0, 65535),
    stamp=st.integers(0, 2**64 - 1),
    load=ANY_FLOAT,
    upper=ANY_FLOAT,
    speed=st.integers(-5, 70000),
    cpus=ANY_FLOAT,
    mem_total=ANY_FLOAT,
    mem_free=ANY_FLOAT,
    utilisability=st.integers(0, 65535),
    flags=st.integers(0, 65535),
)


@FIXED
@given(st.binary(max_size=400))
def test_any_bytes_are_a_vector_or_a_vector_error(data: bytes) -> None:
    try:
        message = decode(data)
    except VectorError:
        return
    assert len(message.entries) * 40 <= len(data)


@FIXED
@given(st.lists(st.tuples(ENTRY, ANY_FLOAT.filter(lambda x: not math.isnan(x))), max_size=20))
def test_any_entries_can_be_sent_and_come_back(entries: list[tuple[LoadEntry, float]]) -> None:
    message = decode(encode(1, entries))
    assert [e.node for e, _ in message.entries] == [e.node for e, _ in entries]
    assert all(age >= 0 for _, age in message.entries)


@FIXED
@given(
    st.lists(st.lists(st.tuples(ENTRY, st.floats(0, 1e6)), max_size=5), max_size=6),
    st.sampled_from(sorted(POLICIES)),
    st.integers(0, 2**32),
)
def test_no_entry_breaks_the_core_or_attracts_a_process_by_a_lie(
    messages: list[list[tuple[LoadEntry, float]]], policy: str, seed: int
) -> None:
    core = BalancerCore(1, Settings(policy=policy), seed, 1)
    core.handle(MembersChanged((2, 3)), 0.0)
    for second, message in enumerate(messages, start=1):
        now = float(second)
        core.handle(VectorReceived(2, tuple(message), wants_answer=True), now)
        age = now + 5
        crowd = tuple(ProcessSample(10 + i, 1, age / 3, 2 * age / 3, 1e6, age_s=age) for i in range(3))
        core.handle(Tick(crowd, 4e9, 1e9), now + 0.1)
        assert not any(absurdity(entry) for entry, _ in core.gossip.table.values())
        assert math.isfinite(core.load())
        core.explain(10, None, now + 0.2)


@FIXED
@given(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT)
def test_any_question_gets_an_answer(demand: float, rss: float, seen: float, hold_s: float) -> None:
    core = BalancerCore(1, Settings(), 1, 1)
    core.handle(Tick((), 4e9, 1e9), 1.0)
    assert len(core.handle(LeaseAsked(LeaseAsk(2, 1, demand, rss, seen, hold_s=hold_s)), 1.1)) == 1
    assert math.isfinite(core.load())
    assert math.isfinite(core.mem_free())


PROCESS = st.builds(
    ProcessFacts,
    pid=st.integers(2, 9),
    home=st.integers(1, 4),
    cpu_s=st.floats(0, 1e5),
    recent_cpu_s=st.floats(0, 1e5),
    demand=st.floats(0, 2),
    rss_bytes=SIZE,
    here_s=st.floats(0, 1e5),
    considered_cpu_s=st.floats(0, 10),
    io_calls_per_s=st.floats(0, 1e5),
    locked=st.booleans(),
    exempt=st.sampled_from(["", "", "a system service"]),
    vetoes=st.sampled_from([(), (), ("monkey",)]),
    allowed=st.sampled_from([None, None, frozenset({2})]),
)
PEER = st.builds(
    PeerFacts,
    node=st.integers(2, 6),
    load=st.floats(0, 20),
    exported_load=st.floats(0, 3000),
    speed=st.floats(0.1, 4),
    cpus=st.floats(0.1, 8),
    mem_total=st.just(4e9),
    mem_free=SIZE,
    age_s=st.floats(0, 60),
    refuses=st.sampled_from(["", "", "takes no guests (block)"]),
    distrust=st.sampled_from(["", "", "says it has 0 CPUs"]),
)


@FIXED
@given(
    st.lists(PROCESS, max_size=5, unique_by=lambda p: p.pid),
    st.lists(PEER, max_size=5, unique_by=lambda p: p.node),
    st.sampled_from(sorted(POLICIES)),
    st.floats(0, 4.2e9),
    st.booleans(),
    st.integers(0, 2**63 - 1),
)
def test_no_policy_moves_what_must_stay_or_to_where_it_must_not(
    processes: list[ProcessFacts], peers: list[PeerFacts], policy: str, mem_used: float, draining: bool, seed: int
) -> None:
    load = sum(p.demand for p in processes)
    own = OwnFacts(1, load, 100 * load, 1.0, 1.0, 4e9, mem_used, draining=draining, steady_s=20.0)
    view = View(own, tuple(peers), tuple(processes), MoveCost(), policy, len(peers) + 1)
    choice = choose(view, seed)
    assert choose(view, seed) == choice
    if not isinstance(choice, Move):
        return
    process = next(p for p in processes if p.pid == choice.pid)
    assert not process.exempt
    assert not process.vetoes
    assert draining or not process.locked
    targets = {p.node: p for p in peers}
    for node in choice.targets:
        assert not targets[node].refuses
        assert not targets[node].distrust
        assert process.allowed is None or node in process.allowed
