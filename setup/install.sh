#!/bin/sh
# Installs below PREFIX (and DESTDIR): an environment of its own in lib/openmosix, the commands as links, man
# pages, the job wrappers, CRIU when it was built here, and the start scripts. `uninstall` removes exactly that.
# Usage: install.sh install|uninstall PREFIX DESTDIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
. "$here/say.sh"
. "$here/venv.sh"

action=$1
prefix=${2:-/usr/local}
destination=${3:-}
library=$prefix/lib/openmosix
base=$destination$prefix
list=$destination$library/installed-files

# remember PATH: a file of ours outside lib/openmosix, for uninstall.
remember() { printf '%s\n' "$1" >>"$list"; }

install_file() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$destination$3"
    remember "$3"
}

install_commands() {
    for script in "$destination$library"/venv/bin/*; do
        name=$(basename "$script")
        grep -qsE '^from (omdiscd|moscmd|openmosixview|omlab)\.' "$script" || continue
        directory=bin
        [ "$name" = omdiscd ] && directory=sbin
        mkdir -p "$base/$directory"
        ln -sfn "$library/venv/bin/$name" "$base/$directory/$name"
        remember "$prefix/$directory/$name"
    done
}

install_completions() { # SHELL DIRECTORY
    for file in "$root/packaging/completions/$1"/*; do install_file 644 "$file" "$prefix/$2/$(basename "$file")"; done
}

install_all() {
    [ "$action" = install ] || return 0
    uninstall_all
    mkdir -p "$destination$library"
    : >"$list"
    python=$(find_python)
    say "making $library"
    "$python" -m venv "$destination$library/venv"
    log=$(mktemp)
    # Only what runs: the tools for tests stay in the checkout.
    sed -n '/^dependencies = \[/,/^]/s/^ *"\([A-Za-z0-9_.-]*\).*/\1/p' "$root/pyproject.toml" >"$log.names"
    "$root/.venv/bin/python" "$here/runtime_lock.py" "$root/requirements.lock" "$log.names" >"$log.lock"
    quietly "$log" "$destination$library/venv/bin/pip" install --disable-pip-version-check --require-hashes \
        --only-binary :all: -r "$log.lock" || fail "could not install the Python packages"
    quietly "$log" "$root/.venv/bin/python" -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation \
        -w "$log.wheel" "$root" || fail "could not build the package"
    quietly "$log" "$destination$library/venv/bin/pip" install --disable-pip-version-check --no-deps --no-index \
        "$log.wheel"/*.whl || fail "could not install the package"
    rm -rf "$root/build" "$log" "$log".*
    if [ -n "$destination" ]; then
        # The environment moves to its place without DESTDIR.
        grep -rlI "$destination$library" "$destination$library/venv/bin" "$destination$library/venv/pyvenv.cfg" |
            xargs -r sed -i "s|$destination$library|$library|g"
    fi
    mkdir -p "$destination$library/criu/bin" "$destination$library/criu/lib"
    cp "$root/.criu/bin/criu" "$destination$library/criu/bin/"
    cp "$root/.criu/lib/libcriu.so.2" "$destination$library/criu/lib/"
    install_commands
    for wrapper in "$root"/scripts/*; do
        if [ -f "$wrapper" ]; then install_file 755 "$wrapper" "$prefix/bin/$(basename "$wrapper")"; fi
    done
    for page in "$root"/docs/man/*.[1-8]; do
        section=${page##*.}
        if [ -f "$page" ]; then install_file 644 "$page" "$prefix/share/man/man$section/$(basename "$page")"; fi
    done
    install_completions bash share/bash-completion/completions
    install_completions fish share/fish/vendor_completions.d
    install_completions zsh share/zsh/site-functions
    install_file 644 "$root/packaging/profile.d-openmosix.sh" /etc/profile.d/openmosix.sh
    for script in openmosix omdiscd; do
        if [ -f "$root/init.d/$script" ]; then install_file 755 "$root/init.d/$script" "/etc/init.d/$script"; fi
    done
    for unit in "$root"/init.d/*.service; do
        if [ -f "$unit" ]; then install_file 644 "$unit" "/lib/systemd/system/$(basename "$unit")"; fi
    done
    say "installed; 'mosctl key init' makes a cluster key, 'omdiscd' starts the node"
}

uninstall_all() {
    [ -e "$list" ] || return 0
    while IFS= read -r file; do rm -f "$destination$file"; done <"$list"
    rm -rf "$destination$library"
}

case $action in
install) install_all ;;
uninstall)
    [ -e "$list" ] || fail "nothing of ours is installed below $base"
    uninstall_all
    say "removed; /etc/openmosix and /var/lib/openmosix, which hold your key and journal, were kept"
    ;;
*) fail "usage: install.sh install|uninstall PREFIX DESTDIR" ;;
esac
