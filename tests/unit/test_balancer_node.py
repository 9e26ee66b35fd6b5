"""The core of one node: events in, commands out."""

from __future__ import annotations

import math

import msgspec
import pytest

from balancer.events import (
    AnswerLease,
    AskLease,
    AwaySample,
    Command,
    GuestArrived,
    HoldProcess,
    LeaseAnswered,
    LeaseAsked,
    LeaseReleased,
    MembersChanged,
    MoveEnded,
    Place,
    PlaceWanted,
    ProcessSample,
    ReleaseLease,
    ReleaseProcess,
    SendVector,
    SettingsChanged,
    StartMove,
    Tick,
    VectorReceived,
)
from balancer.leases import MAX_PENDING, LeaseAsk, LeaseBook
from balancer.node import BalancerCore
from balancer.settings import Settings
from balancer.trust import TrustBook
from balancer.vector import DRAINING, LoadEntry, stamp

GB = 1e9
SOON = 7.0  # after the question, before anything is overdue


def entry(node: int, sequence: int = 1, load: float = 0.0, incarnation: int = 1, **changes: object) -> LoadEntry:
    usual = LoadEntry(node, stamp(incarnation, sequence), load, load, 15000, 1.0, 4 * GB, 3 * GB)
    return msgspec.structs.replace(usual, **changes)


def loops(count: int, now: float, start: float = 0.0, first: int = 10) -> tuple[ProcessSample, ...]:
    """`count` CPU loops that share one CPU since `start`."""
    age = now - start
    return tuple(
        ProcessSample(first + i, 1, age / count, age * (count - 1) / count, 10e6, age_s=age) for i in range(count)
    )


def core(members: tuple[int, ...] = (2, 3), **settings: object) -> BalancerCore:
    made = BalancerCore(1, msgspec.structs.replace(Settings(), **settings), 42, 1)
    made.handle(MembersChanged(members), 0.0)
    return made


def run(made: BalancerCore, until: float, count: int = 4, sequence: int = 1, since: float = 1.0) -> list[Command]:
    """Tick once a second with `count` loops and idle peers, until it asks for a lease; all commands but vectors."""
    commands: list[Command] = []
    now = since
    while now <= until and not any(isinstance(command, AskLease) for command in commands):
        for node in made.members:
            made.handle(VectorReceived(node, ((entry(node, sequence + int(now)), 0.1),)), now - 0.5)
        commands += made.handle(Tick(loops(count, now), 4 * GB, 1 * GB), now)
        now += 1.0
    return [command for command in commands if not isinstance(command, SendVector)]


def asked(made: BalancerCore) -> AskLease:
    found = run(made, 20.0)
    assert isinstance(found[0], AskLease)
    return found[0]


def test_a_crowded_node_asks_before_it_moves() -> None:
    made = core()
    ask = asked(made)
    started = made.handle(LeaseAnswered(ask.ask.ask_id, ask.node, True, 0.0), SOON)
    assert [(type(c), c.node, c.ask_id) for c in started if isinstance(c, StartMove)] == [
        (StartMove, ask.node, ask.ask.ask_id)
    ]


def test_a_refusal_leads_to_the_next_node_and_then_to_rest() -> None:
    made = core()
    ask = asked(made)
    second = made.handle(LeaseAnswered(ask.ask.ask_id, ask.node, False, 3.0, "it is full"), SOON)
    assert isinstance(second[0], AskLease)
    assert {ask.node, second[0].node} == {2, 3}
    assert made.handle(LeaseAnswered(second[0].ask.ask_id, second[0].node, False, 3.0), SOON) == []
    assert made.outgoing is None


def test_a_grant_that_comes_too_late_is_given_back() -> None:
    made = core()
    ask = asked(made)
    made.handle(Tick((), 4 * GB, 1 * GB), 30.0)
    assert made.handle(LeaseAnswered(ask.ask.ask_id, ask.node, True, 0.0), 30.1) == [
        ReleaseLease(ask.node, ask.ask.ask_id)
    ]


def test_a_failed_move_gives_the_lease_back_and_the_process_stays() -> None:
    made = core()
    ask = asked(made)
    move = made.handle(LeaseAnswered(ask.ask.ask_id, ask.node, True, 0.0), SOON)[0]
    assert isinstance(move, StartMove)
    before = made.load()
    commands = made.handle(MoveEnded(move.pid, move.node, False, reason="no room"), SOON)
    assert commands == [ReleaseLease(ask.node, ask.ask.ask_id)]
    assert made.load() == before


def test_a_move_that_ended_well_is_counted_and_its_cost_learned() -> None:
    made = core()
    ask = asked(made)
    move = made.handle(LeaseAnswered(ask.ask.ask_id, ask.node, True, 0.0), SOON)[0]
    assert isinstance(move, StartMove)
    made.handle(MoveEnded(move.pid, move.node, True, 10e6, 0.5), SOON)
    assert made.move_cost.moves == 1
    assert move.pid not in made.processes.tracked


def test_the_target_counts_promises_at_once_and_keeps_their_number_small() -> None:
    made = core()
    made.handle(Tick((), 4 * GB, 1 * GB), 1.0)
    answers = []
    for i in range(4):
        answers += made.handle(LeaseAsked(LeaseAsk(2, i + 1, 1.0, 1e6, 5.0)), 1.1)
    granted = [a.granted for a in answers if isinstance(a, AnswerLease)]
    assert granted == [True] * MAX_PENDING + [False] * (4 - MAX_PENDING)
    assert made.load() == MAX_PENDING
    made.handle(LeaseReleased(2, 1), 1.2)
    made.handle(GuestArrived(77, 2, 2, 2), 1.3)
    assert made.load() == 1.0
    assert len(made.leases) == 0


def test_a_target_that_is_fuller_than_believed_refuses() -> None:
    made = core()
    made.handle(Tick(loops(2, 1.0), 4 * GB, 1 * GB), 1.0)
    answer = made.handle(LeaseAsked(LeaseAsk(2, 1, 1.0, 1e6, 0.0)), 1.1)[0]
    assert isinstance(answer, AnswerLease)
    assert not answer.granted
    assert "2.00 and not 0.00" in answer.reason
    fresh = made.handle(LeaseAsked(LeaseAsk(2, 2, 1.0, 1e6, 0.0), load_now=0.0, mem_free_now=1 * GB), 1.2)[0]
    assert isinstance(fresh, AnswerLease)
    assert fresh.granted


def test_block_refuses_guests_but_takes_own_processes_back() -> None:
    made = core(block=True)
    made.handle(Tick((), 4 * GB, 1 * GB), 1.0)
    guest = made.handle(LeaseAsked(LeaseAsk(2, 1, 1.0, 1e6, 5.0, home=2)), 1.1)[0]
    own = made.handle(LeaseAsked(LeaseAsk(2, 2, 1.0, 1e6, 5.0, home=1)), 1.1)[0]
    assert isinstance(guest, AnswerLease)
    assert isinstance(own, AnswerLease)
    assert (guest.granted, own.granted) == (False, True)


def test_leases_lapse() -> None:
    book = LeaseBook()
    ask = LeaseAsk(2, 1, 1.0, 1e6, 5.0, hold_s=5.0)
    assert book.consider(ask, 0.0, load=0.0, mem_free=GB, mem_total=2 * GB, refuses="") == ""
    assert book.reserved_load() == 1.0
    book.expire(5.0)
    assert book.reserved_load() == 0.0


@pytest.mark.parametrize("demand", [math.nan, -1.0, 1e18])
def test_absurd_questions_are_refused(demand: float) -> None:
    ask = LeaseAsk(2, 1, demand, 1e6, 5.0)
    assert LeaseBook().consider(ask, 0.0, load=0.0, mem_free=GB, mem_total=2 * GB, refuses="")


def test_quiet_tells_nobody_and_stay_moves_nobody() -> None:
    made = core(quiet=True, stay=True)
    commands = []
    for second in range(1, 9):
        commands += made.handle(Tick(loops(4, float(second)), 4 * GB, 1 * GB), float(second))
    commands += made.handle(VectorReceived(2, ((entry(2), 0.0),), wants_answer=True), 9.0)
    assert commands == []


def test_vectors_are_answered_and_drain_is_told() -> None:
    made = core(draining=True)
    made.handle(Tick((), 4 * GB, 1 * GB), 1.0)
    answer = made.handle(VectorReceived(2, ((entry(2), 0.0),), wants_answer=True), 1.1)[0]
    assert isinstance(answer, SendVector)
    assert answer.targets == (2,)
    assert answer.entries[0][0].flags & DRAINING


def test_a_node_that_starves_our_process_is_distrusted_and_explained() -> None:
    made = core()
    for second in range(1, 12):
        now = float(second)
        for node in (2, 3):
            made.handle(VectorReceived(node, ((entry(node, second), 0.0),)), now - 0.5)
        away = (AwaySample(90, 2, 0.02 * now, 0.98 * now), AwaySample(91, 3, now, 0.0))
        made.handle(Tick(loops(4, now), 4 * GB, 1 * GB, away), now)
    assert made.trust.reason(2, 11.0) == "promised 100 % of a CPU and gave 2 %"
    assert made.trust.reason(3, 11.0) == ""
    assert any("distrusted" in line for line in made.explain(10, 2, 11.0).lines)


def test_our_own_processes_there_are_a_floor_under_what_a_node_says() -> None:
    made = core(members=(2,))
    made.handle(VectorReceived(2, ((entry(2), 0.0),)), 0.5)
    made.handle(Tick((), 4 * GB, 1 * GB, tuple(AwaySample(90 + i, 2, 0.3, 0.7) for i in range(3))), 1.0)
    assert made.view(1.1).peers[0].load == 3.0


def test_an_absurd_entry_is_shown_as_distrusted() -> None:
    made = core(members=(2,))
    made.handle(VectorReceived(2, ((entry(2, load=-4.0), 0.0),)), 0.5)
    for second in range(1, 6):
        now = float(second)
        commands = made.handle(Tick(loops(4, now), 4 * GB, 1 * GB), now)
        assert not any(isinstance(command, (AskLease, StartMove)) for command in commands)
    assert any("says its load is -4 processes" in line for line in made.explain(10, 2, 4.0).lines)


def test_a_flapping_node_is_distrusted_for_longer_each_time() -> None:
    made = core(members=(2,))
    for life in range(1, 5):
        made.handle(VectorReceived(2, ((entry(2, incarnation=life), 0.0),)), float(life))
    assert "came and went 3 times" in made.trust.reason(2, 5.0)
    book = TrustBook()
    book.strike(7, "lies", 0.0)
    assert (bool(book.reason(7, 29.0)), bool(book.reason(7, 31.0))) == (True, False)
    book.strike(7, "lies", 31.0)
    assert (bool(book.reason(7, 90.0)), bool(book.reason(7, 92.0))) == (True, False)


def test_an_earlier_life_is_outdone() -> None:
    made = core(members=(2,))
    made.handle(Tick((), 4 * GB, 1 * GB), 1.0)
    made.handle(VectorReceived(2, ((entry(1, 5, incarnation=900), 1.0),)), 1.1)
    made.handle(Tick((), 4 * GB, 1 * GB), 2.0)
    assert made.gossip.entry is not None
    assert made.gossip.entry.stamp >> 32 == 901


def test_a_program_starts_where_it_is_free_and_here_when_nobody_has_room() -> None:
    made = core()
    run(made, 3.0, count=2)
    made.outgoing = None
    ask = made.handle(PlaceWanted(500, 1e6), 3.1)[0]
    assert isinstance(ask, AskLease)
    assert made.handle(LeaseAnswered(ask.ask.ask_id, ask.node, True, 0.0), 3.2) == [
        Place(500, ask.node, ask.ask.ask_id)
    ]
    commands = made.handle(PlaceWanted(501, 1e6), 3.3)
    while isinstance(commands[0], AskLease):
        refused = commands[0]
        commands = made.handle(LeaseAnswered(refused.ask.ask_id, refused.node, False, 2.0), 3.4)
    assert commands == [Place(501, 1)]


def test_an_idle_node_starts_programs_itself_but_counts_them() -> None:
    made = core()
    run(made, 2.0, count=1)
    made.handle(Tick((), 4 * GB, 1 * GB), 3.0)
    assert made.handle(PlaceWanted(500), 3.1) == [Place(500, 1)]
    assert isinstance(made.handle(PlaceWanted(501), 3.1)[0], AskLease)


def test_two_choices_compares_and_gives_the_other_lease_back() -> None:
    made = core(members=(2, 3, 4), policy="two-choices")
    run(made, 2.0, count=1)
    asks: list[Command] = []
    token = 0
    while len(asks) != 2:
        token += 1
        asks = made.handle(PlaceWanted(token), 2.1)
    first, second = asks
    assert isinstance(first, AskLease)
    assert isinstance(second, AskLease)
    assert made.handle(LeaseAnswered(first.ask.ask_id, first.node, True, 4.0), 2.2) == []
    assert made.handle(LeaseAnswered(second.ask.ask_id, second.node, True, 1.0), 2.2) == [
        ReleaseLease(first.node, first.ask.ask_id),
        Place(token, second.node, second.ask.ask_id),
    ]


def test_suspended_for_memory_and_let_go_again() -> None:
    made = core(members=(2,))
    big = tuple(ProcessSample(10 + i, 1, 1.0, 1.0, 2 * GB, age_s=2.0) for i in range(2))
    held = made.handle(Tick(big, 4 * GB, 4 * GB), 1.0)
    assert [type(c) for c in held if not isinstance(c, SendVector)] == [HoldProcess]
    pid = next(c.pid for c in held if isinstance(c, HoldProcess))
    assert made.processes.tracked[pid].held_until
    freed = made.handle(Tick(big, 4 * GB, 1 * GB), 2.0)
    assert ReleaseProcess(pid) in freed


def test_settings_change_while_it_runs() -> None:
    made = core()
    made.handle(SettingsChanged(msgspec.structs.replace(made.settings, policy="mosix", speed=30000)), 1.0)
    run(made, 4.0)
    assert made.gossip.plan.own_only
    assert made.gossip.entry is not None
    assert made.gossip.entry.speed == 30000


def test_dead_members_are_forgotten() -> None:
    made = core()
    run(made, 2.0, count=1)
    made.handle(MembersChanged((3,)), 2.5)
    assert [peer.node for peer in made.view(2.6).peers] == [3]


def test_a_clock_that_jumps_back_or_far_ahead_is_survived() -> None:
    made = core()
    for now in (1.0, 2.0, 1.0, 5e8, 5e8 + 1, 3.0):
        made.handle(Tick(loops(3, 5.0), 4 * GB, 1 * GB), now)
        made.handle(VectorReceived(2, ((entry(2), 0.0),)), now)
    assert math.isfinite(made.load())


def test_a_restart_is_no_flapping_and_a_dead_member_is_no_candidate() -> None:
    made = core()
    for node in (2, 3):
        made.handle(VectorReceived(node, ((entry(node), 0.0),)), 1.0)
    made.handle(MembersChanged((3,)), 5.0)
    made.handle(VectorReceived(3, ((entry(2, 2), 4.0),)), 6.0)
    assert [peer.node for peer in made.view(6.1).peers] == [3]
    made.handle(MembersChanged((2, 3)), 8.0)
    made.handle(VectorReceived(2, ((entry(2, incarnation=2), 0.0),)), 8.1)
    assert [(peer.node, peer.distrust) for peer in made.view(8.2).peers] == [(3, ""), (2, "")]
