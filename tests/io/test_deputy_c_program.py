"""A compiled program that keeps its work in registers computes the same result with hollowings in between."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from migrated.deputy.freezer import Freezer
from migrated.deputy.hollow import hollow
from migrated.deputy.refill import Refill
from migrated.deputy.snapshot import BodySnapshot

pytestmark = pytest.mark.root

_MULTIPLIER, _INCREMENT, _SEED = 6364136223846793005, 1442695040888963407, 7
_SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static volatile int stop;
static void *work(void *seed)
{
	unsigned long x = (unsigned long)seed, n = 0;
	double a = 0, b = 0, c = 0;
	while (!stop) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		a += 1.0; b += 2.0; c -= 1.0; n++;
	}
	char line[120];
	int length = snprintf(line, sizeof line, "%lu %lu %.0f %.0f %.0f\n", n, x, a, b, c);
	return (void *)(long)write(1, line, length);
}
int main(void)
{
	pthread_t threads[2];
	char byte;
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], 0, work, (void *)7);
	write(1, "ready\n", 6);
	read(0, &byte, 1);
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], 0);
	return 9;
}
"""


def _sequence_at(count: int) -> int:
    """The generator's value after `count` steps, by squaring the step."""
    scale, shift, step_scale, step_shift = 1, 0, _MULTIPLIER, _INCREMENT
    while count:
        if count & 1:
            scale, shift = step_scale * scale, step_scale * shift + step_shift
        step_scale, step_shift = step_scale * step_scale, step_scale * step_shift + step_shift
        scale, shift, step_scale, step_shift = (v % 2**64 for v in (scale, shift, step_scale, step_shift))
        count >>= 1
    return (scale * _SEED + shift) % 2**64


def _there_and_back(pid: int) -> None:
    freezer = Freezer.create(pid, f"{os.environ['OPENMOSIX_TEST_RUN']}-{pid}")
    freezer.freeze(20.0)
    snapshot = BodySnapshot(pid, freezer)
    pages = list(snapshot.pages())
    freezer.refreeze()
    snapshot.release(kill=False)
    refill = Refill(pid, hollow(pid, freezer, thaw_on_failure=True), snapshot.state)
    assert refill.plan() == []
    refill.begin()
    for address, data in pages:
        refill.write_pages(address, data)
    refill.finish()


def test_registers_of_a_compiled_program_survive(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        return
    (tmp_path / "work.c").write_text(_SOURCE)
    subprocess.run(["gcc", "-O2", "-w", "-pthread", "work.c", "-o", "work"], cwd=tmp_path, check=True, timeout=60)
    process = subprocess.Popen([tmp_path / "work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(8):
            _there_and_back(process.pid)
        process.stdin.write(b"x")
        process.stdin.flush()
        for _ in range(2):
            count, value, ones, twos, minus = (int(field) for field in process.stdout.readline().split())
            assert (value, ones, twos, minus) == (_sequence_at(count), count, 2 * count, -count)
        assert process.wait(60) == 9
    finally:
        process.kill()
        process.communicate(timeout=20)
