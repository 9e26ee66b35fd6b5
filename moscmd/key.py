"""`mosctl key init` and `mosctl key show`: the cluster key of this machine.

Works on the file directly, because it must work before the first daemon runs. Never prints the key itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from moscmd.command import CommandParser, print_json, run
from omprotocol import cluster_key
from omprotocol.errors import EXIT_OK
from omprotocol.paths import Paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mosctl key` with the arguments after "key"; returns its exit status."""
    return run("mosctl key", key_command, arguments)


def key_command(arguments: Sequence[str]) -> int:
    """Do what `mosctl key ARGUMENTS` asks for. Raises MosixError."""
    parser = CommandParser(
        "mosctl key",
        "Make or show the cluster key. All nodes with the same key are one cluster.",
        "mosctl key init    make a new key, once per cluster; then copy the file to the other nodes\n"
        "mosctl key show    check the key file and show its fingerprint",
    )
    parser.add_argument("action", choices=("init", "show"), help="what to do")
    options = parser.parse_args(arguments)
    path = Paths.from_environment().cluster_key
    key = cluster_key.make(path) if options.action == "init" else cluster_key.load(path)
    facts = {"path": str(path), "fingerprint": cluster_key.fingerprint(key), "made": options.action == "init"}
    if options.json:
        print_json("key", facts)
    elif facts["made"]:
        print(f"Made the cluster key {path}, fingerprint {facts['fingerprint']}.")
        print("Copy the file to every node (owner root, mode 0400) and restart omdiscd there.")
    else:
        print(f"{path}  fingerprint {facts['fingerprint']}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
