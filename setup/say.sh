# Messages of the set-up. Sourced.
say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: FAILED: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf 'setup:   %s\n' "$line" >&2; done
    exit 1
}

# quietly LOG COMMAND…: run it, show its output only when it fails.
quietly() {
    quietly_log=$1
    shift
    if ! "$@" >"$quietly_log" 2>&1 </dev/null; then
        tail -n 25 "$quietly_log" >&2
        return 1
    fi
}
