"""Per-process settings: what is accepted, who inherits, what an exec keeps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.core.admin_process import (
    DEFAULT_RULES,
    ProcessIdentity,
    ProcessRules,
    ProcessRulesTable,
    set_rule,
)
from omprotocol.errors import MosixError

SHELL = ProcessIdentity(100, 5)
CHILD = ProcessIdentity(101, 6)


def test_decay_types_take_only_one() -> None:
    assert set_rule(DEFAULT_RULES, "cpujob", 1).decay == "cpujob"
    with pytest.raises(MosixError):
        set_rule(DEFAULT_RULES, "cpujob", 0)
    own = set_rule(DEFAULT_RULES, "own", [1000, 1])
    assert (own.decay, own.own_rate, own.own_interval_s) == ("own", 1000, 1)


@settings(derandomize=True, deadline=None)
@given(
    st.sampled_from(["lock", "own", "cpujob", "sigmig", "selected", "mignodes", "migpolicy", "nonsense"]),
    st.one_of(st.integers(), st.none(), st.text(max_size=3), st.lists(st.integers(), max_size=4)),
)
def test_any_value_is_taken_or_refused_by_name(name: str, value: object) -> None:
    try:
        rules = set_rule(DEFAULT_RULES, name, value)
    except MosixError as error:
        code, rules = error.code, DEFAULT_RULES
    else:
        code = "improper-value"
    assert code in ("improper-value", "no-such-setting")
    assert 0 <= rules.own_rate <= 1000
    assert 0 <= rules.selected <= 65535


def test_lock_is_always_inherited_and_decay_only_on_request() -> None:
    table = ProcessRulesTable()
    table.put(SHELL, ProcessRules(lock=True, decay="fast", inherit=False))
    child = table.of(CHILD, [SHELL])
    assert child.lock
    assert child.decay == "slow"
    table.put(SHELL, ProcessRules(decay="fast"))
    assert table.of(CHILD, [SHELL]).decay == "fast"
    table.put(CHILD, ProcessRules(lock=False))
    assert table.of(CHILD, [SHELL]) == ProcessRules()


def test_a_reused_pid_has_no_rules() -> None:
    table = ProcessRulesTable()
    table.put(SHELL, ProcessRules(lock=True))
    assert not table.of(ProcessIdentity(100, 9), []).lock
    table.keep_only({CHILD})
    assert len(table) == 0


@pytest.mark.parametrize(
    ("rules", "after_first", "after_second"),
    [
        (ProcessRules(decay="fast"), "fast", "fast"),
        (ProcessRules(decay="fast", exec=False, execonce=True), "fast", "slow"),
        (ProcessRules(decay="fast", exec=False), "slow", "slow"),
    ],
)
def test_exec_keeps_what_was_asked(rules: ProcessRules, after_first: str, after_second: str) -> None:
    table = ProcessRulesTable()
    table.put(SHELL, rules)
    table.seen_program(SHELL, "mosrun")
    table.seen_program(SHELL, "job")
    assert table.of(SHELL, []).decay == after_first
    table.seen_program(SHELL, "job")
    table.seen_program(SHELL, "next")
    assert table.of(SHELL, []).decay == after_second


def test_cluster_mask() -> None:
    deny = ProcessRules(migfilter=True, mignodes=frozenset({2}))
    allow = ProcessRules(migfilter=True, migpolicy=True, mignodes=frozenset({2}))
    assert [deny.allows(2), deny.allows(3), allow.allows(2), allow.allows(3)] == [False, True, True, False]
    assert ProcessRules(mignodes=frozenset({2})).allows(2)
