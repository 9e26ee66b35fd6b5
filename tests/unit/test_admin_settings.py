"""The administrator's settings: ranges, "already" answers, storing, status bits, and the load filter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.core import admin, admin_load, admin_status
from omprotocol.errors import MosixError

NUMBERS = st.integers(-(2**40), 2**40)
VALUES = st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=5), st.floats(), st.lists(NUMBERS, max_size=15))


@pytest.mark.parametrize("name", admin.SWITCHES)
def test_a_switch_says_whether_it_was_so_already(name: str) -> None:
    first = admin.change(admin.AdminSettings(), name, 1)
    second = admin.change(first.settings, name, True)
    assert (first.already, second.already) == (False, True)
    assert admin.format_text(second.settings, name) == "1\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block", 2),
        ("block", "1"),
        ("speed", 0),
        ("speed", 65536),
        ("sspeed", -1),
        ("slowdecay", 1001),
        ("slowdecay", 925),
        ("fastdecay", 976),
        ("decayinterval", 0),
        ("decayinterval", 65536),
        ("gateways", 3),
        ("overheads", [1] * 13),
        ("overheads", [-1] * 14),
        ("mfscosts", [1] * 7),
        ("speed", True),
    ],
)
def test_improper_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(MosixError) as caught:
        admin.change(admin.AdminSettings(), name, value)
    assert caught.value.code == "improper-value"


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(MosixError, match="colour"):
        admin.change(admin.AdminSettings(), "colour", 1)


@settings(derandomize=True, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_setdecay_takes_all_three_or_nothing(interval: int, slow: int, fast: int) -> None:
    proper = 1 <= interval <= 65535 and 1 <= fast <= slow <= 1000
    before = admin.AdminSettings()
    if proper:
        after = admin.change_decay(before, interval, slow, fast).settings
        assert (after.decayinterval, after.slowdecay, after.fastdecay) == (interval, slow, fast)
    else:
        with pytest.raises(MosixError):
            admin.change_decay(before, interval, slow, fast)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 65535), st.integers(1, 1000), st.integers(1, 1000))
def test_setdecay_accepts_its_whole_range(interval: int, one: int, other: int) -> None:
    slow, fast = max(one, other), min(one, other)
    assert admin.change_decay(admin.AdminSettings(), interval, slow, fast).settings.slowdecay == slow


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(admin.NAMES), VALUES), max_size=12))
def test_settings_survive_storing_whatever_was_tried(tries: list[tuple[str, object]]) -> None:
    current = admin.AdminSettings()
    for name, value in tries:
        try:
            current = admin.change(current, name, value).settings
        except MosixError:
            continue
        assert current.fastdecay <= current.slowdecay
    assert admin.from_plain(admin.to_plain(current)) == current


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from([*admin.NAMES, "strange"]), VALUES))
def test_a_spoilt_store_never_raises_and_gives_proper_settings(plain: dict[str, object]) -> None:
    loaded = admin.from_plain(plain)
    assert admin.from_plain(admin.to_plain(loaded)) == loaded
    assert 0 <= loaded.fastdecay <= loaded.slowdecay <= 1000


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(["block", "speed", "overheads"]), st.text(max_size=20))
def test_text_that_is_no_number_is_refused_as_improper(name: str, text: str) -> None:
    try:
        admin.parse_text(name, text)
    except MosixError as error:
        code = error.code
    else:
        code = "improper-value"
    assert code == "improper-value"


def test_file_texts_read_back() -> None:
    defaults = admin.AdminSettings()
    assert admin.format_text(defaults, "speed", measured_speed=9967) == "9967\n"
    for name in ("overheads", "mfscosts", "slowdecay", "sspeed"):
        text = admin.format_text(defaults, name)
        assert admin.change(defaults, name, admin.parse_text(name, text)).already


def test_status_bits_and_words() -> None:
    current = admin.AdminSettings(stay=True, block=True)
    bits = admin_status.own_status(current)
    assert bits == 1 + 2 + 4 + 16
    assert admin_status.status_words(bits) == ["up", "stay", "block"]
    assert admin_status.status_words(admin_status.CONFIGURED) == ["down"]
    assert admin_status.own_status(admin.AdminSettings(drain=True)) & admin_status.BLOCK


def test_load_falls_at_once_for_own_use_and_rises_at_once_for_others() -> None:
    load = admin_load.NodeLoad()
    load.sample(2, 0.0, 1, admin.STANDARD_SPEED)
    assert load.exported == 302
    assert load.local == 75
    for _ in range(40):
        load.sample(2, 0.0, 1, admin.STANDARD_SPEED)
    assert load.local == 200
    load.sample(0, 0.0, 1, admin.STANDARD_SPEED)
    assert load.local == 0
    assert load.exported == 277
    assert load.utilizability == 100


def test_load_is_relative_to_speed_and_cpus() -> None:
    load = admin_load.NodeLoad()
    for _ in range(60):
        load.sample(4, 0.0, 2, 2 * admin.STANDARD_SPEED)
    assert load.local == 100
    assert load.utilizability == 200
    assert admin_load.shown_load(load.local, 10000) == 67


def test_paging_lowers_utilizability_and_inflates_load() -> None:
    load = admin_load.NodeLoad()
    for _ in range(60):
        load.sample(1, 0.5, 1, admin.STANDARD_SPEED)
    assert load.utilizability == 50
    assert load.local == 200
