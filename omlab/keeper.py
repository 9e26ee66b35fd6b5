"""The keeper: the one process that makes a virtual cluster, holds it and removes it.

It is the parent of every node's PID 1 and lives in the network namespace of the bridge. It ends the
cluster when its owner is gone or closes its standard input, on SIGTERM, and never before. When it is
itself killed, the nodes die with it, and `omlab down` removes the cgroups and the directory.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from omlab import cgroups, kernel, network, node_root, state
from omlab.init import Init

_NODE_NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWCGROUP
)


def main() -> NoReturn:
    """Read the order (one JSON line on standard input), make the cluster, say so, hold it, remove it.

    The order: name, nodes, detached, quota_percent, cores (a list per node or None), keys (per node).
    The answer: one JSON line, {"ok": true} or {"error": "…"}.
    """
    kernel.reset_signals()
    # End of file alone is not enough: a fork of the owner may hold the pipe open.
    owner = os.pidfd_open(os.getppid())
    order = json.loads(sys.stdin.buffer.readline())
    wake = _wake_on_termination()
    name = order["name"]
    nodes: dict[int, int] = {}
    try:
        _claim(name)
    except (OSError, ValueError) as error:
        _answer({"error": str(error)})
        sys.exit(1)
    failed = False
    try:
        _build(order, nodes)
        _answer({"ok": True})
        _hold([wake] if order["detached"] else [wake, owner, sys.stdin.fileno()])
    except (OSError, RuntimeError) as error:
        failed = True
        _answer({"error": str(error)})
    finally:
        _remove(name, nodes)
    sys.exit(1 if failed else 0)


def _claim(name: str) -> None:
    with state.locked():
        directory = state.lab_directory(name)
        if directory.exists():
            raise FileExistsError(f"the cluster {name} exists already (omlab down --name {name} removes it)")
        directory.mkdir(mode=0o700)
        (directory / "root").mkdir()
        (directory / "maker").write_text(json.dumps(vars(state.Process.of(os.getpid()))))


def _answer(message: dict[str, Any]) -> None:
    # The one who asked may be gone; then nobody needs the answer.
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except OSError:
        pass


def _wake_on_termination() -> int:
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return read_end


def _build(order: dict[str, Any], nodes: dict[int, int]) -> None:
    name, count = order["name"], order["nodes"]
    directory = state.lab_directory(name)
    kernel.set_process_name("omlab")
    kernel.adopt_orphans()
    kernel.unshare(kernel.CLONE_NEWNET)
    network.make_bridge()
    addresses = {number: network.address(number) for number in range(1, count + 1)}
    host_cgroups = cgroups.hierarchies()
    gates: dict[int, tuple[int, int]] = {}
    for number in addresses:
        cores = order["cores"][number - 1] if order["cores"] else None
        groups = cgroups.make_node_groups(name, number, order["quota_percent"], cores)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(directory / f"node{number}.socket"))
        listener.listen(64)
        go_read, go_write = os.pipe2(os.O_CLOEXEC)
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        pid = _fork_init(groups)
        if pid == 0:
            os.close(go_write)
            os.close(ready_read)
            for other_go, other_ready in gates.values():
                os.close(other_go)
                os.close(other_ready)
            key = order["keys"][number - 1] if order["keys"] else ""
            _be_node(number, directory / "root", addresses, key, host_cgroups, listener, go_read, ready_write)
        nodes[number] = pid
        gates[number] = (go_write, ready_read)
        os.close(go_read)
        os.close(ready_write)
        listener.close()
    for number, pid in nodes.items():
        network.plug_in(number, pid)
        os.write(gates[number][0], b"go")
    for number, (go, ready) in gates.items():
        told = b""
        while part := os.read(ready, 4096):
            told += part
        if told != b"ready":
            raise RuntimeError(f"node {number} did not start: {told.decode() or 'it died'}")
        os.close(go)
        os.close(ready)
    processes = {number: state.Process.of(pid) for number, pid in nodes.items()}
    state.Lab(name, state.Process.of(os.getpid()), processes, order["detached"]).save()


def _fork_init(groups: list[Path]) -> int:
    """Fork PID 1 of a new node; returns its PID, or 0 inside it.

    unshare(2) gives the new PID namespace to the next child only, hence a process in between, which
    ends at once and leaves PID 1 to the keeper.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    between = os.fork()
    if between == 0:
        try:
            # The group a process is in when it unshares becomes the root of what it sees.
            cgroups.join(groups)
            kernel.unshare(_NODE_NAMESPACES)
            cgroups.join_leaves(groups)
            pid = os.fork()
            if pid == 0:
                os.close(read_end)
                os.close(write_end)
                return 0
            os.write(write_end, str(pid).encode())
        except OSError as error:
            os.write(write_end, f"!{error}".encode())
        os._exit(0)
    os.close(write_end)
    told = os.read(read_end, 4096).decode()
    os.close(read_end)
    os.waitpid(between, 0)
    if not told.isdigit():
        raise RuntimeError(f"no namespaces for a node: {told.lstrip('!')}")
    return int(told)


def _be_node(
    number: int,
    root: Path,
    addresses: dict[int, str],
    cluster_key: str,
    host_cgroups: list[cgroups.Hierarchy],
    listener: socket.socket,
    go: int,
    ready: int,
) -> NoReturn:
    try:
        # Only after the process in between has gone, or its end would count as the parent's.
        if os.read(go, 2) != b"go":
            os._exit(1)
        os.close(go)
        kernel.die_with_parent()
        os.setsid()
        for number_of_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number_of_signal, signal.SIG_DFL)
        kernel.set_process_name("omlab-init")
        kernel.set_hostname(f"node{number}")
        node_root.enter(root, number, addresses, cluster_key, host_cgroups)
        network.configure_node(number)
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.close(null)
        os.write(ready, b"ready")
        os.close(ready)
        Init(listener).run()
    except BaseException as error:
        try:
            os.write(ready, f"{type(error).__name__}: {error}".encode()[:4000])
        except OSError:
            pass
    os._exit(1)


def _hold(watched: list[int]) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    # Whoever waits for our output to end must not wait for the cluster to end.
    os.dup2(null, 1)
    os.dup2(null, 2)
    select.select(watched, [], [])


def _remove(name: str, nodes: dict[int, int]) -> None:
    for pid in nodes.values():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    # Frozen processes hold up the end of PID 1; emptying the groups thaws them.
    cgroups.remove_lab_groups(name)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            break
    cgroups.remove_lab_groups(name)
    state.remove(name)


if __name__ == "__main__":
    main()
