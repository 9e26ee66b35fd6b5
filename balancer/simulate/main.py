"""The command `omsim`: runs scenarios, compares policies on the same streams, and measures the targets.

The only place of the simulator that reads arguments and writes anything.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import msgspec

from balancer.gossip import GossipPlan
from balancer.policies import POLICIES
from balancer.simulate.ages import entry_ages
from balancer.simulate.figures import interval
from balancer.simulate.outcome import Outcome, outcome
from balancer.simulate.plot import line_chart
from balancer.simulate.scenarios import SCENARIOS, Options, prepare, simulate
from balancer.simulate.targets import TARGETS, Check, Effort

_COLUMNS = (
    ("slowdown", "slowdown", 3),
    ("p99", "slowdown_p99", 2),
    ("delay s", "delay_s", 3),
    ("makespan", "makespan_s", 1),
    ("moves/job", "moves_per_job", 3),
    ("returns", "returns_per_move", 3),
    ("placed", "placed_per_job", 2),
    ("refused", "refusals_per_ask", 2),
    ("lost", "lost", 0),
)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="omsim", description="Simulate the balancer on a virtual clock.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "run one policy"), ("compare", "run several policies on the same streams")):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("scenario", choices=SCENARIOS)
        sub.add_argument("--nodes", type=int, default=16)
        sub.add_argument("--rho", type=_numbers, default=[0.7], metavar="R[,R...]")
        sub.add_argument("--seconds", type=float, default=300.0, help="for how long jobs arrive")
        sub.add_argument("--seed", type=int, default=1)
        sub.add_argument("--window", type=int, default=0, help="entries in a message; 0 = as the policy has it")
        sub.add_argument("--loss", type=float, default=0.0, help="share of messages lost, 0..1")
        sub.add_argument("--fixed-cost", type=float, default=0.1, help="seconds every move takes")
        sub.add_argument("--place-cost", type=float, default=0.0, help="seconds a start elsewhere takes")
        sub.add_argument("--json", action="store_true")
        if name == "run":
            sub.add_argument("--policy", choices=POLICIES, default="ours")
        else:
            sub.add_argument("--policies", default=",".join(POLICIES))
            sub.add_argument("--seeds", type=int, default=3)
            sub.add_argument("--plot", metavar="FILE.svg", help="slowdown against rho")
    sub = commands.add_parser("ages", help="age of load entries by gossip alone")
    sub.add_argument("--nodes", type=_numbers, default=[16, 64, 256], metavar="N[,N...]")
    sub.add_argument("--window", type=int, default=4096)
    sub.add_argument("--cap", type=int, default=4096, help="entries a node keeps")
    sub.add_argument("--periods", type=int, default=40)
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--loss", type=float, default=0.0)
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--plot", metavar="FILE.svg", help="ages against the number of nodes")
    sub = commands.add_parser("target", help="measure a figure that has to be reached")
    sub.add_argument("name", choices=[*TARGETS, "all"])
    sub.add_argument("--seeds", type=int, default=5)
    sub.add_argument("--runs", type=int, default=3000, help="runs of the Amir stream")
    sub.add_argument("--seconds", type=float, default=1000.0)
    sub.add_argument("--seed", type=int, default=1, help="the first seed")
    sub.add_argument("--json", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 = done and all bounds kept, 1 = a bound was missed, 2 = usage."""
    options = _parser().parse_args(arguments)
    if options.command == "ages":
        return _ages(options)
    if options.command == "target":
        return _target(options)
    return _scenario(options)


def _write_plot(path: str, svg: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(svg)


def _scenario(options: argparse.Namespace) -> int:
    policies = [options.policy] if options.command == "run" else options.policies.split(",")
    unknown = [policy for policy in policies if policy not in POLICIES]
    if unknown:
        print(f"omsim: no policy {unknown[0]!r}; there are {', '.join(POLICIES)}", file=sys.stderr)
        return 2
    seeds = getattr(options, "seeds", 1)
    series: dict[str, list[tuple[float, float]]] = {policy: [] for policy in policies}
    results: list[dict[str, object]] = []
    for rho in options.rho:
        settings = Options(
            options.nodes,
            rho,
            options.seconds,
            options.window,
            options.loss,
            options.fixed_cost,
            place_cost_s=options.place_cost,
        )
        found: dict[str, list[Outcome]] = {policy: [] for policy in policies}
        for seed in range(options.seed, options.seed + seeds):
            scenario = prepare(options.scenario, settings, seed)
            for policy in policies:
                found[policy].append(outcome(simulate(scenario, policy, seed, options.window), policy, seed))
        for policy in policies:
            series[policy].append((rho, interval([o.slowdown for o in found[policy]]).mean))
        if options.json:
            results += [
                {"scenario": options.scenario, "rho": rho, **msgspec.to_builtins(o)} for p in policies for o in found[p]
            ]
        else:
            _print_table(options.scenario, rho, found)
    if options.json:
        print(json.dumps(results, indent=1))
    if getattr(options, "plot", None):
        title = f"{options.scenario}, {options.nodes} nodes"
        _write_plot(options.plot, line_chart(title, "rho", "mean slowdown", series))
    return 0


def _print_table(scenario: str, rho: float, found: dict[str, list[Outcome]]) -> None:
    seeds = [o.seed for o in next(iter(found.values()))]
    print(f"{scenario}, rho {rho:g}, seeds {seeds[0]}..{seeds[-1]}, means with 95 % intervals of the slowdown")
    print(f"{'policy':12}{'+-':>8}" + "".join(f"{title:>11}" for title, _, _ in _COLUMNS))
    for policy, outcomes in found.items():
        slowdowns = interval([o.slowdown for o in outcomes])
        cells = "".join(
            f"{interval([float(getattr(o, field)) for o in outcomes]).mean:>11.{digits}f}"
            for _, field, digits in _COLUMNS
        )
        print(f"{policy:12}{(slowdowns.high - slowdowns.low) / 2:>8.3f}{cells}")


def _ages(options: argparse.Namespace) -> int:
    series: dict[str, list[tuple[float, float]]] = {}
    rows: list[dict[str, object]] = []
    for push_pull in (False, True):
        kind = "push-pull" if push_pull else "push"
        for nodes in (int(n) for n in options.nodes):
            oldest = min(8, options.window // 4) if options.window < nodes else 0
            plan = GossipPlan(window=options.window - oldest, oldest=oldest, push_pull=push_pull, cap=options.cap)
            found = entry_ages(nodes, plan, options.seed, periods=options.periods, loss=options.loss)
            series.setdefault(f"{kind}, mean", []).append((nodes, found.mean))
            series.setdefault(f"{kind}, oldest", []).append((nodes, found.mean_oldest))
            rows.append({"kind": kind, **msgspec.to_builtins(found)})
            if not options.json:
                print(
                    f"{kind:10} n={nodes:<6} mean {found.mean:6.2f}  oldest {found.mean_oldest:6.2f} periods,"
                    f" {100 * found.known:.1f} % known"
                )
    if options.json:
        print(json.dumps(rows, indent=1))
    if options.plot:
        _write_plot(options.plot, line_chart("Age of load entries", "nodes", "periods", series, log_x=True))
    return 0


def _target(options: argparse.Namespace) -> int:
    effort = Effort(options.seeds, options.runs, options.seconds, options.seed)
    names = list(TARGETS) if options.name == "all" else [options.name]
    checks: list[tuple[str, Check]] = []
    for name in names:
        for check in TARGETS[name](effort, lambda text: print(f"  {text}", file=sys.stderr, flush=True)):
            checks.append((name, check))
            if not options.json:
                _print_check(name, check)
    if options.json:
        rows = [{"target": n, **msgspec.to_builtins(c), "passed": c.passed} for n, c in checks]
        print(json.dumps(rows, indent=1))
    return 0 if all(check.passed for _, check in checks) else 1


def _print_check(name: str, check: Check) -> None:
    value = check.value
    sign = ">=" if check.at_least else "<="
    verdict = "reached" if check.passed else "MISSED"
    print(
        f"{name}: {check.name}: {value.mean:.3f} [{value.low:.3f}, {value.high:.3f}] {sign} {check.bound:.3g}:"
        f" {verdict}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
