"""What a jail's specification may say, and the choice of PIDs."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrated.jail import pids
from migrated.jail.spec import JailSpec

GOOD = {"mid": "0123abcd", "pid": 7, "ppid": 1, "pgid": 7, "sid": 7, "work_dir": "/w", "images_dir": "/i"}


def test_a_specification_travels_as_json() -> None:
    spec = JailSpec(**GOOD, dfsa=["/usr"], groups=[4, 20])  # type: ignore[arg-type]
    spec.check()
    assert msgspec.json.decode(json.dumps(msgspec.to_builtins(spec)), type=JailSpec) == spec


@pytest.mark.parametrize(
    "bad",
    [
        {"mid": "../../etc"},
        {"mid": ""},
        {"pid": 1},
        {"ppid": -1},
        {"dfsa": ["usr"]},
        {"dfsa": ["/usr/../etc"]},
        {"dfsa": ["/"]},
    ],
)
def test_what_is_out_of_range_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        JailSpec(**(GOOD | bad)).check()  # type: ignore[arg-type]


def test_an_unknown_root_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(GOOD | {"root": "anywhere"}, JailSpec)


@given(st.sets(st.integers(1, 5000)), st.integers(5400, 6000))
@settings(derandomize=True, deadline=None)
def test_helpers_get_numbers_nobody_has(taken: set[int], limit: int) -> None:
    start = pids.free_run(taken, limit)
    assert not taken & set(range(start, start + pids.HELPER_RUN))
    assert start >= 300
    if max(taken, default=0) + 1 + pids.HELPER_RUN < limit:
        assert start > max(taken, default=0)


def test_helpers_fit_below_a_family_at_the_top() -> None:
    assert pids.free_run({32767, 32000}, 32768) == 400
    assert pids.free_run({32767, 410}, 32768) == 411
