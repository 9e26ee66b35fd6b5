# The virtual environment .venv with exactly what requirements.lock names. Sourced by setup.sh.

# The system's own interpreter first: other users' processes can reach it, one below /root they cannot.
find_python() {
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$path"
            return
        fi
    done
    fail "no Python 3.11 or newer found" "Debian 12 and 13 have it: apt-get install python3"
}

set_up_venv() {
    wanted=$(cat requirements.lock pyproject.toml setup/venv.sh | sha256sum | cut -d' ' -f1)" $root"
    if [ -x .venv/bin/python ] && [ "$(cat .venv/.stamp 2>/dev/null)" = "$wanted" ]; then return; fi
    python=$(find_python)
    if ! [ -x .venv/bin/pip ] || [ "$(cat .venv/.home 2>/dev/null || echo "$root")" != "$root" ]; then
        if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then apt_install "the virtual environment" python3-venv; fi
        say "making .venv with $python"
        rm -rf .venv
        "$python" -m venv .venv || fail "could not make .venv with $python"
    fi
    log=$(mktemp)
    say "installing Python packages from requirements.lock"
    quietly "$log" .venv/bin/pip install --disable-pip-version-check --require-hashes --only-binary :all: \
        -r requirements.lock || fail "could not install the Python packages of requirements.lock" \
        "is the network there? (pip's own settings, PIP_INDEX_URL for instance, are respected)"
    # Compatibility mode is one line in a .pth file: the commands start without an import hook.
    quietly "$log" .venv/bin/pip install --disable-pip-version-check --no-deps --no-build-isolation \
        --config-settings editable_mode=compat -e . || fail "could not install the commands into .venv/bin"
    rm -f "$log"
    printf '%s' "$root" >.venv/.home
    printf '%s' "$wanted" >.venv/.stamp
}
