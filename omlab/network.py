"""The network between virtual nodes: one bridge, one cable per node.

The bridge lives in a network namespace of its own (the keeper's), so nothing of the machine's network is
touched. Node K has eth1 at 10.77.0.K, so that openMosix's rule makes its node number K. Links are cut,
mended and made lossy on the bridge's side, as if the cable or the switch were bad.
"""

import subprocess

NODES_MAX = 99
_NFT_TABLE = "bridge omlab"


def address(node: int) -> str:
    """Address of a node: 10.77.0.K."""
    return f"10.77.0.{node}"


def make_bridge() -> None:
    """Make the bridge in this process's own, new network namespace."""
    _ip(
        [
            "link set lo up",
            # Without snooping every node hears every announcement, as on a plain switch.
            "link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0",
            "link set br0 up",
        ]
    )


def plug_in(node: int, init_pid: int) -> None:
    """Lay the cable from the bridge (this namespace) to the node whose PID 1 is `init_pid`."""
    _ip(
        [
            f"link add v{node} type veth peer name eth1 netns {init_pid}",
            f"link set v{node} master br0 up",
        ]
    )


def configure_node(node: int) -> None:
    """Bring up lo and eth1 in this process's own network namespace, with the route to everywhere."""
    _ip(
        [
            "link set lo up",
            f"addr add {address(node)}/16 broadcast + dev eth1",
            "link set eth1 up",
            "route add default dev eth1",
        ]
    )


def set_link(keeper_pid: int, node: int, state: str, loss_percent: float = 0.0) -> None:
    """Cut ("down"), mend ("up") or make lossy ("loss") the cable of a node; "up" also ends a loss.

    `loss_percent` is 0 to 100 and counts for each direction by itself. Raises RuntimeError with the
    tool's own words when the kernel cannot do it.
    """
    inside = ["nsenter", f"--net=/proc/{keeper_pid}/ns/net"]
    chain = f"node{node}"
    # "add" first, so that deleting never fails.
    rules = [
        f"add table {_NFT_TABLE}",
        f"add chain {_NFT_TABLE} {chain}",
        f"delete chain {_NFT_TABLE} {chain}",
    ]
    if state == "loss":
        # A comparison that is always true is refused.
        drop = "drop" if loss_percent >= 100 else f"numgen random mod 10000 < {round(loss_percent * 100)} drop"
        hook = "{ type filter hook forward priority 0; }"
        rules += [
            f"add chain {_NFT_TABLE} {chain} {hook}",
            f"add rule {_NFT_TABLE} {chain} iifname v{node} {drop}",
            f"add rule {_NFT_TABLE} {chain} oifname v{node} {drop}",
        ]
    if state != "down":
        _run([*inside, "nft", "-f", "-"], "\n".join(rules))
    _run([*inside, "ip", "link", "set", f"v{node}", "down" if state == "down" else "up"], "")


def _ip(lines: list[str]) -> None:
    _run(["ip", "-batch", "-"], "\n".join(lines))


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
