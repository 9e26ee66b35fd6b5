"""The deciding function: filters, choice, memory, drain, explanation and replay."""

from __future__ import annotations

import msgspec
import pytest

from balancer.candidates import Identity, exemption
from balancer.decay import CPUJOB
from balancer.decide import choose, decide
from balancer.explain import explain
from balancer.facts import Hold, Limits, Move, OwnFacts, PeerFacts, ProcessFacts, Stay, View
from balancer.migration_cost import MoveCost
from balancer.policies import POLICIES, policy_named
from balancer.ring import DecisionRing, load_dump, replays

GB = 1e9


def process(pid: int, **changes: object) -> ProcessFacts:
    usual = ProcessFacts(pid, 1, 20.0, 20.0, 1.0, 10e6, 30.0, 30.0, considered_cpu_s=20.0)
    return msgspec.structs.replace(usual, **changes)


def peer(node: int, load: float = 0.0, **changes: object) -> PeerFacts:
    usual = PeerFacts(node, load, 100 * load + 102, 1.0, 1.0, 4 * GB, 3 * GB, 1.0)
    return msgspec.structs.replace(usual, **changes)


def view(*processes: ProcessFacts, peers: tuple[PeerFacts, ...] = (), policy: str = "ours", **own: object) -> View:
    count = float(len(processes))
    facts = OwnFacts(1, count, 100 * count, 1.0, 1.0, 4 * GB, 1 * GB, steady_s=10.0)
    return View(
        msgspec.structs.replace(facts, **own), peers, processes, MoveCost(), policy, len(peers) + 1, peak_load=4.0
    )


THREE = (process(10), process(11, cpu_s=50.0), process(12, cpu_s=30.0, rss_bytes=2 * GB))


@pytest.mark.parametrize("policy", ["ours", "mosix", "opportunity"])
def test_a_crowded_node_sends_one_to_an_idle_node(policy: str) -> None:
    choice = choose(view(*THREE, peers=(peer(2), peer(3, 3.0)), policy=policy), 1)
    assert isinstance(choice, Move)
    assert choice.targets[0] == 2


def test_old_and_small_processes_go_first() -> None:
    choice = choose(view(*THREE, peers=(peer(2),)), 1)
    assert isinstance(choice, Move)
    assert choice.pid == 11


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_equal_nodes_exchange_nothing(policy: str) -> None:
    crowd = (process(10), process(11))
    assert isinstance(choose(view(*crowd, peers=(peer(2, 2.0), peer(3, 1.0)), policy=policy), 1), Stay)


def test_a_lone_process_moves_to_a_faster_node() -> None:
    assert isinstance(choose(view(process(10), peers=(peer(2, speed=3.0),)), 1), Move)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"locked": True}, "locked"),
        ({"vetoes": ("monkey", "clone_vm")}, "cannot move: monkey, clone_vm"),
        ({"exempt": "a system service"}, "a system service"),
        ({"allowed": frozenset({7})}, "not among the nodes its user allowed"),
        ({"left": ((2, 3.0),)}, "was there a moment ago"),
        ({"previous_node": 3, "here_s": 0.1}, "rests"),
        ({"rss_bytes": 3.5 * GB}, "too little memory free"),
    ],
)
def test_a_filtered_process_stays_and_explain_says_why(changes: dict[str, object], words: str) -> None:
    decision = decide(view(process(10, **changes), load=3.0, peers=(peer(2),)), 5.0, 1)
    assert isinstance(decision.choice, Stay)
    assert any(words in line for line in explain(decision, 10).lines)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distrust": "says its load is -1 processes"}, "distrusted: says its load is -1 processes"),
        ({"refuses": "takes no guests (block)"}, "block"),
        ({"age_s": 99.0}, "last heard of 99 s ago"),
    ],
)
def test_a_node_not_believed_gets_nothing_and_explain_says_why(changes: dict[str, object], words: str) -> None:
    decision = decide(view(*THREE, peers=(peer(2, **changes),)), 5.0, 1)
    assert isinstance(decision.choice, Stay)
    assert any(words in line for line in explain(decision, 11, 2).lines)


def test_stay_lstay_and_a_move_under_way() -> None:
    peers = (peer(2),)
    assert isinstance(choose(view(*THREE, peers=peers, stay=True), 1), Stay)
    assert isinstance(choose(view(*THREE, peers=peers, moving_out=True), 1), Stay)
    guest = process(13, home=9)
    choice = choose(view(*THREE, guest, peers=peers, lstay=True), 1)
    assert isinstance(choice, Move)
    assert choice.pid == 13


def test_calls_home_keep_a_chatty_process_at_home_unless_it_is_a_cpujob() -> None:
    chatty = {"io_calls_per_s": 8000.0}
    assert isinstance(choose(view(process(10, **chatty), load=2.0, peers=(peer(2),)), 1), Stay)
    chosen = choose(view(process(10, decay_class=CPUJOB, **chatty), load=2.0, peers=(peer(2),)), 1)
    assert isinstance(chosen, Move)


def test_short_memory_moves_the_smallest_that_ends_it() -> None:
    crowd = (process(10, rss_bytes=0.1 * GB), process(11, rss_bytes=0.5 * GB), process(12, rss_bytes=2 * GB))
    choice = choose(view(*crowd, mem_used=4.1 * GB, peers=(peer(2, mem_free=2 * GB), peer(3))), 1)
    assert isinstance(choice, Move)
    assert (choice.pid, choice.targets[0], choice.step) == (11, 3, "memory")


def test_short_memory_without_room_elsewhere_suspends_one() -> None:
    crowd = (process(10, rss_bytes=1 * GB), process(11, rss_bytes=3 * GB))
    full = peer(2, mem_free=0.3 * GB)
    choice = choose(view(*crowd, mem_used=4.1 * GB, peers=(full,)), 1)
    assert isinstance(choice, Hold)
    assert choice.pid == 11
    waiting = process(11, rss_bytes=3 * GB, held=True)
    choice = choose(view(crowd[0], waiting, peers=(peer(3, mem_free=3.5 * GB),)), 1)
    assert isinstance(choice, Move)
    assert choice.pid == 11


def test_a_drained_node_sends_guests_first_and_ends_with_nobody() -> None:
    guest = process(13, home=9)
    choice = choose(view(*THREE, guest, peers=(peer(2, 5.0),), draining=True), 1)
    assert isinstance(choice, Move)
    assert (choice.pid, choice.step) == (13, "drain")
    assert isinstance(choose(view(process(10, exempt="reads its terminal"), peers=(peer(2),), draining=True), 1), Stay)


def test_many_nodes_do_not_all_choose_the_same_target() -> None:
    peers = tuple(peer(node) for node in range(2, 12))
    firsts = set()
    for seed in range(60):
        choice = choose(view(*THREE, peers=peers), seed)
        assert isinstance(choice, Move)
        firsts.add(choice.targets[0])
    assert len(firsts) >= 8


def test_the_ring_is_dumped_and_replayed() -> None:
    ring = DecisionRing(kept=3)
    for seed in range(5):
        ring.add(decide(view(*THREE, peers=(peer(2), peer(3))), float(seed), seed))
    ring.add(decide(view(process(10)), 9.0, 9))
    again = load_dump(ring.dump())
    assert [d.at for d in again] == [2.0, 3.0, 4.0, 9.0]
    assert again == ring.decisions()
    assert all(replays(decision) for decision in again)


def test_explain_uses_the_recorded_decision() -> None:
    decision = decide(view(*THREE, peers=(peer(2), peer(3, 3.0))), 5.0, 1)
    assert explain(decision, 11).summary.startswith("Process 11 was to move to the first of 2")
    assert "process 11 was to move first" in explain(decision, 10).summary
    assert any("pays" in line for line in explain(decision, 11, 2).lines)
    assert "Nothing is known of node 77." in explain(decision, 11, 77).lines
    assert any("did not run" in line for line in explain(decision, 99).lines)


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (Identity(1, 0), "init"),
        (Identity(2, 0, kernel_thread=True), "kernel thread"),
        (Identity(50, 0, ours=True), "openMosix itself"),
        (Identity(51, 1000, login_session=True, reads_terminal=True), "terminal"),
        (Identity(52, 1000, login_session=True, session_leader=True), "session"),
        (Identity(53, 33), "system service"),
        (Identity(54, 1000, login_session=True), ""),
        (Identity(55, 33, from_mosrun=True), ""),
    ],
)
def test_what_moves_by_itself(who: Identity, words: str) -> None:
    assert words in exemption(who)
    assert bool(exemption(who)) == bool(words)


def test_unknown_policies_are_named() -> None:
    with pytest.raises(ValueError, match="mosix"):
        policy_named("wishful")


def test_a_process_that_fits_nowhere_moves_only_where_nodes_have_swap() -> None:
    crowd = tuple(process(10 + i, rss_bytes=0.5 * GB) for i in range(4))
    tight = view(*crowd, mem_used=4.1 * GB, peers=(peer(2, mem_free=0.1 * GB),))
    strict = msgspec.structs.replace(tight, limits=Limits(hold_when_short=False))
    paging = msgspec.structs.replace(tight, limits=Limits(hold_when_short=False, overcommit=True))
    assert isinstance(choose(strict, 1), Stay)
    choice = choose(paging, 1)
    assert isinstance(choice, Move)
    assert choice.step == "paging"
