"""Membership under anything that can happen: a rule-based machine over a virtual LAN.

Daemons start, die, leave, are stopped; links break and heal; datagrams are lost and old ones played again. Whatever
happened, once the LAN is whole again all daemons agree within a bounded time, and each number has one holder.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omdiscd.core.claim import ClaimState
from omdiscd.core.member import MemberState
from tests.support.virtual_lan import Host, VirtualLan

# Two networks whose addresses end alike, so that node numbers collide.
ADDRESSES = [f"10.{net}.0.{number}" for net in (77, 78) for number in (1, 2, 3, 4)]
SETTLE_S = 60.0


class MembershipMachine(RuleBasedStateMachine):
    """Every rule is something that happens to a cluster; `teardown` lets it settle and compares."""

    @initialize(seed=st.integers(0, 1 << 32), uses_multicast=st.booleans())
    def make_lan(self, seed: int, uses_multicast: bool) -> None:
        self.lan = VirtualLan(seed, uses_multicast)
        self.seeds = () if uses_multicast else tuple(ADDRESSES)

    def host(self, place: int) -> Host:
        return self.lan.hosts[place % len(self.lan.hosts)]

    @rule(address=st.sampled_from(ADDRESSES))
    def start(self, address: str) -> None:
        if all(host.address != _ip(address) for host in self.lan.hosts):
            self.lan.start(address, self.seeds)

    @precondition(lambda self: self.lan.hosts)
    @rule(place=st.integers(0, 7), politely=st.booleans())
    def end(self, place: int, politely: bool) -> None:
        (self.lan.leave if politely else self.lan.kill)(self.host(place))

    @precondition(lambda self: self.lan.hosts)
    @rule(place=st.integers(0, 7))
    def stop_or_continue(self, place: int) -> None:
        self.host(place).is_stopped ^= True

    @precondition(lambda self: self.lan.hosts)
    @rule(one=st.integers(0, 7), other=st.integers(0, 7))
    def cut(self, one: int, other: int) -> None:
        self.lan.separate(self.host(one), self.host(other))

    @rule()
    def heal(self) -> None:
        self.lan.cut.clear()

    @rule(loss=st.sampled_from([0.0, 0.3, 0.6]))
    def lose(self, loss: float) -> None:
        self.lan.loss = loss

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.lan.run(seconds)

    @precondition(lambda self: self.lan.hosts and self.lan.log)
    @rule(place=st.integers(0, 7), at=st.integers(0, 1 << 20), count=st.integers(1, 20))
    def play_again(self, place: int, at: int, count: int) -> None:
        host = self.host(place)
        start = at % len(self.lan.log)
        for header, data, source, _target in self.lan.log[start : start + count]:
            self.lan.deliver(host, header, data, source)

    @invariant()
    def nobody_is_its_own_member(self) -> None:
        for host in getattr(self, "lan", VirtualLan()).hosts:
            assert host.core.roster.get(host.core.node) is None

    def teardown(self) -> None:
        lan = getattr(self, "lan", None)
        if lan is None:
            return
        lan.cut.clear()
        lan.loss = 0.0
        for host in lan.hosts:
            host.is_stopped = False
        lan.run(SETTLE_S)
        holders = [host for host in lan.hosts if host.core.claim.state is ClaimState.ACTIVE]
        numbers = sorted({host.core.node for host in lan.hosts})
        assert sorted(host.core.node for host in holders) == numbers
        for host in lan.hosts:
            assert host.present() == set(numbers) - {host.core.node}
            for member in host.core.roster:
                if member.is_present:
                    assert member.state is MemberState.ALIVE
                    assert member.boot_id in {holder.boot_id for holder in holders}


def _ip(text: str) -> int:
    a, b, c, d = map(int, text.split("."))
    return a << 24 | b << 16 | c << 8 | d


TestMembership = MembershipMachine.TestCase
TestMembership.settings = settings(derandomize=True, deadline=None, max_examples=60, stateful_step_count=25)
