"""Simulated machines and jobs: processor sharing among the jobs of a machine, thrashing when their memory
does not fit.

Every running job of a machine gets the same share, so one pair of integrals per machine (CPU seconds of
this machine, and of the standard one) stands for the progress of all of them.
"""

from __future__ import annotations

from balancer.events import ProcessSample
from balancer.memory import THRASH, USABLE


class Job:
    """One job. `size_s` is its CPU time on the standard processor; `home` the node where it was started."""

    __slots__ = (
        "arrived_s",
        "base_cpu_s",
        "done_s",
        "frozen_s",
        "home",
        "left",
        "moves",
        "node",
        "number",
        "placed",
        "returns",
        "rss_bytes",
        "run",
        "sample",
        "share_0",
        "since_s",
        "size_s",
        "target",
    )

    def __init__(self, number: int, arrived_s: float, size_s: float, rss_bytes: float, home: int, run: int = 0) -> None:
        self.number = number
        self.arrived_s = arrived_s
        self.size_s = size_s
        self.rss_bytes = rss_bytes
        self.home = home
        self.run = run
        self.node = 0
        self.target = 0.0  # value of its machine's progress integral at which it is done
        self.share_0 = 0.0
        self.since_s = arrived_s
        self.base_cpu_s = 0.0
        self.done_s = -1.0
        self.frozen_s = 0.0
        self.moves = 0
        self.placed = False
        self.returns = 0
        self.left: list[tuple[int, float]] = []
        self.sample = ProcessSample(number, home, 0.0, 0.0, rss_bytes)

    def slowdown(self) -> float:
        """Time in the system over the time alone on a standard processor."""
        return (self.done_s - self.arrived_s) / self.size_s


class Machine:
    """One node's CPUs and memory. `mem_total` is physical; USABLE of it holds jobs before they thrash."""

    __slots__ = (
        "alive",
        "cpus",
        "held",
        "jobs",
        "mem_total",
        "mem_used",
        "node",
        "progress",
        "rate",
        "share",
        "share_sum",
        "speed",
        "updated_s",
        "version",
    )

    def __init__(self, node: int, speed: float, cpus: float, mem_total: float) -> None:
        self.node = node
        self.speed = speed
        self.cpus = cpus
        self.mem_total = mem_total
        self.mem_used = 0.0
        self.jobs: dict[int, Job] = {}
        self.held: dict[int, tuple[Job, float]] = {}  # suspended: the job and the progress it still needs
        self.progress = 0.0  # standard CPU seconds each running job has got so far
        self.share_sum = 0.0  # the same in CPU seconds of this machine
        self.rate = 0.0
        self.share = 0.0
        self.updated_s = 0.0
        self.version = 0
        self.alive = True

    def advance(self, now: float) -> None:
        """Bring the integrals up to now."""
        elapsed = now - self.updated_s
        if elapsed > 0:
            self.progress += self.rate * elapsed
            self.share_sum += self.share * elapsed
        self.updated_s = now

    def retime(self) -> float:
        """Set the shares after a change; returns seconds until the next job is done, infinity when none
        runs.
        """
        self.version += 1
        count = len(self.jobs)
        if not count:
            self.rate = self.share = 0.0
            return float("inf")
        self.share = min(1.0, self.cpus / count)
        if self.mem_used > USABLE * self.mem_total * (1 + 1e-9):
            self.share /= THRASH
        self.rate = self.share * self.speed
        first = min([job.target for job in self.jobs.values()])
        return max(0.0, (first - self.progress) / self.rate)

    def add(self, job: Job, left_s: float, now: float) -> None:
        """Start a job here that still needs `left_s` standard CPU seconds; the caller retimes."""
        job.node = self.node
        job.target = self.progress + left_s
        job.share_0 = self.share_sum
        job.since_s = now
        self.jobs[job.number] = job
        self.mem_used += job.rss_bytes

    def remove(self, job: Job) -> float:
        """Take a job away; returns what it still needs. The caller retimes."""
        if job.number in self.held:
            return self.held.pop(job.number)[1]
        del self.jobs[job.number]
        self.mem_used = self.mem_used - job.rss_bytes if self.jobs else 0.0
        return max(0.0, job.target - self.progress)

    def hold(self, job: Job) -> None:
        """Suspend a job; its memory is swapped out."""
        self.held[job.number] = (job, self.remove(job))

    def release(self, number: int) -> None:
        """Let a suspended job go on."""
        job, left_s = self.held.pop(number)
        job.target = self.progress + left_s
        job.share_0 = self.share_sum - job.sample.cpu_s
        self.jobs[number] = job
        self.mem_used += job.rss_bytes

    def samples(self, now: float) -> tuple[ProcessSample, ...]:
        """What /proc would show of the jobs here."""
        total = self.share_sum
        found: list[ProcessSample] = []
        for job in self.jobs.values():
            sample = job.sample
            age = now - job.since_s
            sample.cpu_s = total - job.share_0
            sample.age_s = age
            sample.run_delay_s = max(0.0, age - sample.cpu_s)
            found.append(sample)
        for job, _ in self.held.values():
            found.append(job.sample)
        return tuple(found)
