"""The command omlab: a cluster of virtual nodes on this machine, for trying."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from omlab import network, state
from omlab.cluster import Cluster, open_nodes, take_down
from omlab.node import Node
from omlab.terminal import run_attached

DEFAULT_NAME = "lab"
_EPILOG = """\
examples:
  omlab up 3                      three nodes, omdiscd on each
  omlab exec 1 showmap            a command on node 1
  omlab exec -u om 1 make -j8     the same as the ordinary user om
  omlab shell 2                   a shell on node 2
  omlab link 3 loss 20            node 3's cable loses a fifth of all packets
  omlab link 3 down               ... and is cut;  "up" mends it
  omlab down                      nothing is left
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0, 1 (failed), 2 (usage), or that of the command run by exec."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("omlab: only root can make namespaces; nothing was done", file=sys.stderr)
        return 3
    try:
        return int(options.action(options))
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        print(f"omlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="omlab",
        description="A cluster of virtual nodes on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default=DEFAULT_NAME, metavar="LAB", help="which cluster (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: object, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        # Also behind the command, where fingers put it.
        one.add_argument("--name", default=argparse.SUPPRESS, metavar="LAB", help=argparse.SUPPRESS)
        one.set_defaults(action=action)
        return one

    up = command("up", _up, "make a cluster of N nodes, numbered from 1")
    up.add_argument("nodes", type=int, metavar="N", help=f"1 to {network.NODES_MAX}")
    up.add_argument("--quota", type=int, metavar="PERCENT", help="CPU time of each node, in percent of one core")
    up.add_argument("--cores", metavar="LIST[/LIST…]", help='cores of each node, "0/1/0-1", or one list for all')
    up.add_argument("--no-daemon", action="store_true", help="do not start omdiscd")

    run = command("exec", _exec, "run a command on node K")
    run.add_argument("-u", "--user", help="as this user (om is an ordinary one) instead of root")
    run.add_argument("node", type=int, metavar="K")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="cmd…")

    shell = command("shell", _shell, "a shell on node K")
    shell.add_argument("-u", "--user", help="as this user instead of root")
    shell.add_argument("node", type=int, metavar="K")

    command("status", _status, "the clusters and their nodes")

    link = command("link", _link, "cut, mend or worsen the cable of node K")
    link.add_argument("node", type=int, metavar="K")
    link.add_argument("state", choices=("down", "up", "loss"))
    link.add_argument("percent", type=float, nargs="?", metavar="P", help="loss in percent, each way")

    down = command("down", _down, "remove the cluster")
    down.add_argument("--all", action="store_true", help="all clusters, also what a crash left of one")
    return parser


def _node(arguments: argparse.Namespace) -> Node:
    lab = state.load(arguments.name)
    if lab is None or not lab.keeper.runs():
        raise RuntimeError(f"there is no cluster {arguments.name!r} (omlab up N makes one, omlab status lists them)")
    nodes = open_nodes(lab)
    if arguments.node not in nodes:
        raise RuntimeError(f"there is no node {arguments.node}; the cluster {lab.name!r} has 1 to {len(nodes)}")
    return nodes[arguments.node]


def _up(arguments: argparse.Namespace) -> int:
    cores = arguments.cores.split("/") if arguments.cores else None
    Cluster(
        arguments.nodes,
        name=arguments.name,
        start_daemon=not arguments.no_daemon,
        quota_percent=arguments.quota,
        cores=cores,
        detached=True,
    )
    last = network.address(arguments.nodes)
    print(f"{arguments.nodes} nodes, {network.address(1)} to {last}: omlab shell 1, omlab exec 1 showmap, omlab down")
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        print("omlab: exec needs a command (omlab exec K cmd…)", file=sys.stderr)
        return 2
    return run_attached(_node(arguments), command, arguments.user, {})


def _shell(arguments: argparse.Namespace) -> int:
    prompt = {"PS1": f"node{arguments.node}:\\w\\$ "}
    # Without its start-up files bash keeps our prompt, which tells the nodes apart.
    return run_attached(_node(arguments), ["bash", "--norc", "--noprofile"], arguments.user, prompt)


def _status(arguments: argparse.Namespace) -> int:
    names = state.names()
    if not names:
        print("no cluster (omlab up N makes one)")
    for name in names:
        lab = state.load(name)
        if lab is None or not lab.keeper.runs():
            print(f"{name}: left over from a crash (omlab down --name {name} removes it)")
            continue
        print(f"{name}: {len(lab.nodes)} nodes")
        for number, node in open_nodes(lab).items():
            running = "running" if lab.nodes[number].runs() else "DEAD"
            daemon = "omdiscd answers" if _daemon_answers(node) else "no omdiscd"
            count = len(node.processes()) if running == "running" else 0
            print(f"  node {number:<3} {node.address:<12} {running}, {daemon}, {count} processes")
    return 0


def _daemon_answers(node: Node) -> bool:
    try:
        node.wait_for_daemon(timeout_s=0)
    except (OSError, TimeoutError):
        return False
    return True


def _link(arguments: argparse.Namespace) -> int:
    if (arguments.state == "loss") != (arguments.percent is not None):
        print('omlab: "loss" needs a percentage, and only "loss" has one', file=sys.stderr)
        return 2
    if arguments.percent is not None and not 0 <= arguments.percent <= 100:
        print("omlab: a loss is 0 to 100 percent", file=sys.stderr)
        return 2
    _node(arguments).link(arguments.state, arguments.percent or 0.0)
    return 0


def _down(arguments: argparse.Namespace) -> int:
    names = state.names() if arguments.all else [arguments.name]
    if not arguments.all and arguments.name not in state.names():
        raise RuntimeError(f"there is no cluster {arguments.name!r}")
    left = [line for name in names for line in take_down(name)]
    for line in left:
        print(f"omlab: could not remove {line}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
