"""The part of requirements.lock that the installed programs need, without the tools for tests.

Arguments: the lock file, and a file with one direct dependency per line. Prints their entries and those of
everything they depend on, by the "# via" notes of the lock file.
"""

import re
import sys
from pathlib import Path


def entries(text: str) -> dict[str, tuple[str, set[str]]]:
    """Each package's lines in the lock file, and the names of what asks for it."""
    found: dict[str, tuple[str, set[str]]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        match = re.match(r"([A-Za-z0-9_.-]+)==", block)
        if match:
            notes = "\n".join(line for line in block.splitlines() if line.lstrip().startswith("#"))
            found[match[1].lower()] = (block, set(re.findall(r"[A-Za-z0-9_.-]+", notes.replace("via", " ").lower())))
    return found


def main() -> None:
    """Print the part."""
    lock, names = (Path(argument).read_text() for argument in sys.argv[1:3])
    packages = entries(lock)
    wanted = {name.lower() for name in names.split()}
    while True:
        more = {name for name, (_, asked_by) in packages.items() if asked_by & wanted} | wanted
        if more == wanted:
            break
        wanted = more
    print("\n".join(block for name, (block, _) in packages.items() if name in wanted))


main()
