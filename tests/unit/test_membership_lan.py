"""Membership of several nodes on a virtual LAN: what is noticed, how fast, and what changes nothing."""

from omdiscd.core.claim import ClaimState
from omdiscd.core.member import MemberState
from tests.support.virtual_lan import Host, VirtualLan, ip

NOTICED_S = 8.0


def _cluster(count: int, seed: int = 1, **options: bool) -> tuple[VirtualLan, list[Host]]:
    lan = VirtualLan(seed, **options)
    hosts = [lan.start(f"10.77.0.{n}") for n in range(1, count + 1)]
    lan.run(3.0)
    return lan, hosts


def _see_each_other(hosts: list[Host]) -> bool:
    numbers = {host.core.node for host in hosts}
    return all(host.present() == numbers - {host.core.node} for host in hosts)


def test_nodes_find_each_other_within_three_seconds() -> None:
    _lan, hosts = _cluster(5)
    assert _see_each_other(hosts)


def test_a_late_node_finds_and_is_found() -> None:
    lan, hosts = _cluster(3)
    hosts.append(lan.start("10.77.0.9"))
    lan.run(2.0)
    assert _see_each_other(hosts)


def test_a_death_is_noticed_by_all() -> None:
    for count in (2, 3, 8):
        for seed in range(5):
            lan, hosts = _cluster(count, seed)
            dead = hosts.pop()
            lan.kill(dead)
            lan.run(NOTICED_S)
            assert {host.state_of(count) for host in hosts} == {MemberState.DEAD}
            assert _see_each_other(hosts)


def test_a_farewell_is_noticed_at_once_and_not_undone() -> None:
    lan, hosts = _cluster(3)
    lan.leave(hosts.pop())
    lan.run(0.1)
    assert {host.state_of(3) for host in hosts} == {MemberState.LEFT}
    lan.run(20.0)
    assert {host.state_of(3) for host in hosts} == {MemberState.LEFT}


def test_a_restarted_daemon_takes_its_old_place() -> None:
    lan, hosts = _cluster(3)
    old = hosts.pop()
    lan.kill(old)
    hosts.append(lan.start("10.77.0.3"))
    lan.run(3.0)
    assert _see_each_other(hosts)
    member = hosts[0].core.roster.get(3)
    assert member is not None
    assert member.boot_id == hosts[-1].boot_id


def test_recorded_datagrams_change_nothing() -> None:
    lan, hosts = _cluster(3)
    victim = hosts.pop()
    lan.leave(victim)
    restarted = lan.start("10.77.0.3")
    hosts.append(restarted)
    lan.run(3.0)
    for host in hosts:
        host.changes.clear()
    for header, data, source, _target in lan.log[:]:
        for host in hosts:
            lan.deliver(host, header, data, source)
    lan.run(2.0)
    assert _see_each_other(hosts)
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_recording_of_a_daemon_long_gone_makes_no_member() -> None:
    lan, hosts = _cluster(3)
    lan.kill(hosts.pop())
    recorded = [entry for entry in lan.log if entry[0].node == 3]
    fresh = lan.start("10.77.0.4")
    lan.run(1.5)
    for header, data, source, _target in recorded:
        lan.deliver(fresh, header, data, source)
    lan.run(30.0)
    assert fresh.state_of(3) is None


def test_a_recording_of_an_own_former_start_is_no_collision() -> None:
    lan, hosts = _cluster(2)
    lan.kill(hosts.pop())
    recorded = [entry for entry in lan.log if entry[0].node == 2]
    again = lan.start("10.77.0.2")
    for header, data, source, _target in recorded:
        lan.deliver(again, header, data, source)
    lan.run(3.0)
    assert again.core.claim.state is ClaimState.ACTIVE
    assert [report for report in again.reports if report.event == "membership.collision"] == []


def test_messages_to_one_node_are_ignored_by_another() -> None:
    lan, hosts = _cluster(3)
    header, data, source, _target = next(e for e in lan.log if e[0].node == 1 and e[3] == ip("10.77.0.2"))
    before = hosts[2].core.counts["misdirected"]
    for header, data, source, target in lan.log[:]:
        if header.node == 1 and target == ip("10.77.0.2"):
            lan.deliver(hosts[2], header, data, source)
    assert hosts[2].core.counts["misdirected"] > before


def test_a_member_that_speaks_from_a_wrong_address_is_not_heard() -> None:
    lan, hosts = _cluster(2)
    header, data, source, _target = lan.log[-1]
    header = header._replace(counter=header.counter + 1000)
    receiver = next(host for host in hosts if host.core.node != header.node)
    lan.deliver(receiver, header, data, type(source)(ip("10.9.9.9"), 5428))
    assert receiver.core.counts["wrong_source"] == 1


def test_the_later_user_of_a_number_stays_out_until_it_is_free() -> None:
    lan, hosts = _cluster(3)
    holder = hosts[2]
    late = lan.start("10.78.0.3")
    lan.run(5.0)
    assert (holder.core.claim.state, late.core.claim.state) == (ClaimState.ACTIVE, ClaimState.OUT)
    for host in (holder, late):
        assert any(report.event == "membership.collision" for report in host.reports)
    assert _see_each_other(hosts)
    member = hosts[0].core.roster.get(3)
    assert member is not None
    assert member.address == ip("10.77.0.3")
    lan.leave(hosts.pop())
    lan.run(5.0)
    assert late.core.claim.state is ClaimState.ACTIVE
    assert _see_each_other([*hosts, late])


def test_of_two_that_start_together_one_gets_the_number() -> None:
    for seed in range(10):
        lan = VirtualLan(seed)
        rivals = [lan.start("10.77.0.3"), lan.start("10.78.0.3")]
        lan.run(5.0)
        states = {rival.core.claim.state for rival in rivals}
        assert states == {ClaimState.ACTIVE, ClaimState.OUT}


def test_two_holders_that_meet_agree_on_the_elder() -> None:
    lan = VirtualLan(3)
    elder, other = lan.start("10.77.0.3"), lan.start("10.77.0.1")
    lan.run(10.0)
    younger = lan.start("10.78.0.3")
    for host in (elder, other):
        lan.separate(host, younger)
    lan.run(10.0)
    assert younger.core.claim.state is ClaimState.ACTIVE
    lan.cut.clear()
    lan.run(5.0)
    assert (elder.core.claim.state, younger.core.claim.state) == (ClaimState.ACTIVE, ClaimState.OUT)
    assert _see_each_other([elder, other])


def test_a_node_that_was_stopped_does_not_call_the_others_dead() -> None:
    lan, hosts = _cluster(6)
    stopped = hosts[0]
    stopped.is_stopped = True
    lan.run(30.0)
    assert hosts[1].state_of(1) is MemberState.DEAD
    stopped.changes.clear()
    stopped.is_stopped = False
    lan.run(5.0)
    assert _see_each_other(hosts)
    assert [c for c in stopped.changes if c.member.state is MemberState.DEAD] == []


def test_one_broken_link_makes_nobody_dead() -> None:
    lan, hosts = _cluster(4)
    lan.separate(hosts[0], hosts[1])
    for host in hosts:
        host.changes.clear()
    lan.run(60.0)
    assert _see_each_other(hosts)
    assert [c for host in hosts for c in host.changes if c.member.state is MemberState.DEAD] == []


def test_loss_of_a_third_makes_nobody_dead() -> None:
    lan, hosts = _cluster(4)
    lan.loss = 0.3
    for host in hosts:
        host.changes.clear()
    lan.run(120.0)
    assert [c for host in hosts for c in host.changes if c.member.state is MemberState.DEAD] == []


def test_without_multicast_seeds_suffice() -> None:
    lan = VirtualLan(4, uses_multicast=False)
    hosts = [lan.start(f"10.77.0.{n}", seeds=("10.77.0.1",)) for n in range(1, 13)]
    lan.run(20.0)
    assert _see_each_other(hosts)
    lan.kill(hosts.pop())
    lan.run(12.0)
    assert _see_each_other(hosts)


def test_after_a_partition_all_are_together_again() -> None:
    lan, hosts = _cluster(6)
    for one in hosts[:3]:
        for other in hosts[3:]:
            lan.separate(one, other)
    lan.run(30.0)
    assert _see_each_other(hosts[:3])
    assert _see_each_other(hosts[3:])
    lan.cut.clear()
    lan.run(3.0)
    assert _see_each_other(hosts)


def test_a_helper_that_knows_another_user_of_the_number_keeps_no_dead_one_alive() -> None:
    lan = VirtualLan(0, uses_multicast=False)
    addresses = ("10.77.0.3", "10.77.0.1", "10.77.0.2", "10.78.0.1")
    hosts = [lan.start(address, addresses) for address in addresses]
    hosts[0].is_stopped = True
    lan.run(3.0)
    lan.kill(hosts.pop(1))
    hosts[0].is_stopped = False
    lan.run(60.0)
    assert _see_each_other(hosts)
    for host in hosts[:2]:
        member = host.core.roster.get(1)
        assert member is not None
        assert member.boot_id == hosts[2].boot_id
