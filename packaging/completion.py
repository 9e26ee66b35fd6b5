"""Makes the completions for bash, zsh and fish in packaging/completions from the real option parsers.

Usage: .venv/bin/python packaging/completion.py

The files are static: completing runs no program of ours. Node numbers come from the hpc tree's directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "packaging")]

from parsers import COMMANDS, options_of, parser_of  # noqa: E402

from moscmd.mosctl import ALIASES, SUBCOMMANDS  # noqa: E402

TARGET = ROOT / "packaging/completions"
NODES = '$(ls "${OPENMOSIX_HPC:-/run/openmosix/hpc}/nodes" 2>/dev/null)'
PIDS = '$(ps -o pid= -u "$(id -u)" 2>/dev/null)'
WRAPPERS = ("nomig", "runhome", "runon", "cpujob", "iojob", "nodecay", "slowdecay", "fastdecay")
WITH_NODE = [name for name, subcommand in SUBCOMMANDS.items() if subcommand.arguments.startswith("[NODE")]


def main() -> int:
    """Write every file."""
    for shell in ("bash", "zsh", "fish"):
        (TARGET / shell).mkdir(parents=True, exist_ok=True)
    for command in (*COMMANDS, "mps", *WRAPPERS):
        for path, text in files_of(command).items():
            (TARGET / path).write_text(text, encoding="utf-8")
    return 0


def files_of(command: str) -> dict[str, str]:
    """The three files of one command, by path below the target."""
    return {f"bash/{command}": _bash(command), f"zsh/_{command}": _zsh(command), f"fish/{command}.fish": _fish(command)}


def options(command: str) -> dict[str, str]:
    """Every option of a command with its help."""
    if command in WRAPPERS:
        return {"-z": "the argument after the command becomes its argv[0]"}
    if command == "mps":
        return {
            "--ominfo": "node, migrations, lock and reasons", "--ominfol": "the same, long",
            "--json": "one JSON object", "--sort=node": "order", "--help": "help", "--version": "version",
        }  # fmt: skip
    return {
        option: (action.help or "").replace("%(default)s", str(action.default))
        for action in options_of(parser_of(command))
        for option in action.option_strings
        if option != "-NODE"
    }


def _words(command: str) -> str:
    """What the first argument may be, as the word list of a shell."""
    if command == "mosctl":
        return " ".join([*SUBCOMMANDS, *ALIASES])
    return {"migrate": PIDS, "runon": NODES}.get(command, "")


def _bash(command: str) -> str:
    name = f"_openmosix_{command}"
    lines = [
        f"# bash completion of {command}; made by packaging/completion.py",
        f"{name}() {{",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}",
        "    COMPREPLY=()",
        "    if [[ $current == -* ]]; then",
        f'        COMPREPLY=($(compgen -W "{" ".join(options(command))}" -- "$current"))',
        "        return",
        "    fi",
    ]
    if command == "mosctl":
        lines += [
            "    case $previous in",
            f'    {"|".join(WITH_NODE)}|--node) COMPREPLY=($(compgen -W "{NODES}" -- "$current")) ;;',
            '    setyard) COMPREPLY=($(compgen -W "this" -- "$current")) ;;',
            '    key) COMPREPLY=($(compgen -W "init show" -- "$current")) ;;',
            '    config) COMPREPLY=($(compgen -W "show" -- "$current")) ;;',
            f'    explain) COMPREPLY=($(compgen -W "{PIDS}" -- "$current")) ;;',
            f'    mosctl|--json) COMPREPLY=($(compgen -W "{_words(command)}" -- "$current")) ;;',
            "    esac",
        ]
    elif command == "migrate":
        lines += [
            "    case $previous in",
            f'    migrate|--json|--stats) COMPREPLY=($(compgen -W "{PIDS}" -- "$current")) ;;',
            f'    *) COMPREPLY=($(compgen -W "home balance {NODES}" -- "$current")) ;;',
            "    esac",
        ]
    elif command == "setpe":
        lines.append('    COMPREPLY=($(compgen -f -- "$current"))')
    elif command == "runon":
        lines.append(f'    [[ $previous == runon ]] && COMPREPLY=($(compgen -W "{NODES}" -- "$current")) && return')
        lines.append('    COMPREPLY=($(compgen -c -- "$current"))')
    elif command in (*WRAPPERS, "mosrun"):
        lines.append('    COMPREPLY=($(compgen -c -- "$current"))')
    return "\n".join([*lines, "}", f"complete -F {name} {command}"]) + "\n"


def _zsh(command: str) -> str:
    specs = [f"'{option}[{_quoted(text)}]'" for option, text in options(command).items()]
    if command == "mosctl":
        rest = [f"'1:command:({' '.join([*SUBCOMMANDS, *ALIASES])})'", f"'*:argument:({NODES})'"]
    elif command == "migrate":
        rest = [f"'1:process:({PIDS})'", f"'2:destination:(home balance {NODES})'"]
    elif command == "runon":
        rest = [f"'1:node:({NODES})'", "'*::command:_normal'"]
    elif command in (*WRAPPERS, "mosrun"):
        rest = ["'*::command:_normal'"]
    else:
        rest = ["'*:file:_files'"]
    body = " \\\n    ".join(["_arguments", *specs, *rest])
    return f"#compdef {command}\n# made by packaging/completion.py\n{body}\n"


def _fish(command: str) -> str:
    lines = [f"# fish completion of {command}; made by packaging/completion.py"]
    nodes = "(ls /run/openmosix/hpc/nodes 2>/dev/null)"
    if command in ("migrate", "mosctl"):
        lines.append(f"complete -c {command} -f")
    for option, text in options(command).items():
        flag = f"-l {option[2:].split('=')[0]}" if option.startswith("--") else _short(option)
        lines.append(f"complete -c {command} {flag} -d '{_quoted(text)}'")
    if command == "mosctl":
        first = "__fish_use_subcommand"
        for name, subcommand in SUBCOMMANDS.items():
            lines.append(f"complete -c mosctl -n {first} -a '{name}' -d '{_quoted(subcommand.summary)}'")
        lines.append(f"complete -c mosctl -n '__fish_seen_subcommand_from {' '.join(WITH_NODE)}' -a '{nodes}'")
    elif command == "migrate":
        lines.append(f"complete -c migrate -a 'home balance {nodes} (__fish_complete_pids)'")
    elif command in (*WRAPPERS, "mosrun"):
        lines.append(f"complete -c {command} -x -a '(__fish_complete_subcommand)'")
    return "\n".join(lines) + "\n"


def _short(option: str) -> str:
    return f"-s {option[1:]}" if len(option) == 2 else f"-o {option[1:]}"


def _quoted(text: str) -> str:
    return text.replace("'", "").replace("[", "(").replace("]", ")").replace(":", "\\:")


if __name__ == "__main__":
    sys.exit(main())
