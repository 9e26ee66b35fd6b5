"""Rules of every test run: what is skipped and why, and that nothing is left behind.

A test marked root, fuse, criu or lab is skipped with the reason when the machine cannot do it; with
OPENMOSIX_CI=1 (set by .ci/run) a skipped test fails the run. At the end the run is searched for leaks.
"""

import os
import shutil

import pytest

from omlab.kernel import reset_ignored_internal_signals
from tests.support.capabilities import MARKERS
from tests.support.leaks import RunLabel

# What the tests start must not inherit what make leaves behind.
reset_ignored_internal_signals()
_label = RunLabel()
_leaks: list[str] = []
_skipped: list[str] = []


@pytest.fixture(scope="session")
def run_label() -> str:
    """Label that must be part of the name of everything global a test makes (cgroups, clusters)."""
    return _label.name


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, missing in MARKERS.items():
        if item.get_closest_marker(name) and (reason := missing()):
            pytest.skip(reason)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _skipped.append(f"{report.nodeid}: {reason}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(f"{report.nodeid}: skipped as a whole")


def pytest_sessionfinish(session: pytest.Session) -> None:
    _leaks.extend(_label.leaks())
    if _leaks or (_skipped and os.environ.get("OPENMOSIX_CI") == "1"):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _leaks:
        terminalreporter.section("left behind by the tests (this fails the run)", red=True)
        for line in _leaks:
            terminalreporter.line(line)
    if _skipped and os.environ.get("OPENMOSIX_CI") == "1":
        terminalreporter.section("skipped, which CI does not accept", red=True)
        for line in _skipped:
            terminalreporter.line(line)


def pytest_unconfigure() -> None:
    shutil.rmtree(_label.directory, ignore_errors=True)
