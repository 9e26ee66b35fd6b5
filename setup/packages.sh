# Debian packages at run time. Sourced by setup.sh.

# command or file that must exist -> package that has it
RUNTIME_NEEDS="
/usr/sbin/ip:/sbin/ip:/usr/bin/ip=iproute2
/usr/sbin/nft:/sbin/nft:/usr/bin/nft=nftables
/usr/bin/nsenter=util-linux
/usr/bin/ps=procps
/usr/bin/setpriv=util-linux
"

missing_packages() {
    for need in $RUNTIME_NEEDS; do
        found=no
        old_ifs=$IFS
        IFS=:
        for file in ${need%%=*}; do [ -e "$file" ] && found=yes; done
        IFS=$old_ifs
        [ "$found" = yes ] || printf '%s ' "${need##*=}"
    done
}

# apt_install PURPOSE PACKAGE…
apt_install() {
    purpose=$1
    shift
    command -v apt-get >/dev/null || fail "missing for $purpose: $*" \
        "this is no Debian; install their equivalents and run again"
    [ "$(id -u)" = 0 ] || fail "missing for $purpose: $*" "run 'make setup' as root once, or: apt-get install $*"
    say "installing for $purpose: $*"
    log=$(mktemp)
    if [ -z "${apt_updated:-}" ]; then
        quietly "$log" apt-get update -qq || say "apt-get update failed; trying with the package lists at hand"
        apt_updated=yes
    fi
    # --no-upgrade: what is installed stays as it is.
    quietly "$log" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-upgrade "$@" ||
        fail "could not install for $purpose: $*" "is the network there, and is /etc/apt set up?"
    rm -f "$log"
}

set_up_packages() {
    packages=$(missing_packages)
    # shellcheck disable=SC2086
    [ -z "$packages" ] || apt_install "the daemon and the virtual cluster" $packages
}
