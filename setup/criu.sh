# CRIU and libcriu in .criu/{bin,lib}: the distribution's when it is new enough, else built from
# Debian's newer source. Nothing of the system is upgraded and no sid entry is left behind.
# Sourced by setup.sh.

CRIU_MINIMUM=4.1
CRIU_BUILD_PACKAGES="build-essential pkg-config libprotobuf-dev libprotobuf-c-dev protobuf-c-compiler
protobuf-compiler python3-protobuf uuid-dev libbsd-dev libnftables-dev libcap-dev libnl-3-dev
libnl-genl-3-dev libaio-dev libgnutls28-dev"

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# The version the distribution offers, empty when it has no such package.
offered_criu() {
    LC_ALL=C apt-cache policy criu 2>/dev/null | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p'
}

works() {
    LD_LIBRARY_PATH=.criu/lib .criu/bin/criu --version >/dev/null 2>&1 && [ -e .criu/lib/libcriu.so.2 ]
}

set_up_criu() {
    if [ -e .criu/.stamp ] && [ -x .criu/bin/criu ] && [ -e .criu/lib/libcriu.so.2 ]; then return; fi
    if works && at_least "$(criu_version)" "$CRIU_MINIMUM"; then
        criu_version >.criu/.stamp
        return
    fi
    command -v apt-get >/dev/null || fail "CRIU $CRIU_MINIMUM or newer is missing" \
        "put criu into .criu/bin and libcriu.so.2 into .criu/lib, then run again"
    [ "$(id -u)" = 0 ] || fail "CRIU $CRIU_MINIMUM or newer is missing in .criu" "run 'make setup' as root once"
    if [ -z "$(offered_criu)" ]; then
        apt-get update -qq >/dev/null 2>&1 || say "apt-get update failed; trying with the package lists at hand"
        apt_updated=yes
    fi
    offered=$(offered_criu)
    if [ -n "$offered" ] && at_least "$offered" "$CRIU_MINIMUM"; then
        criu_from_package
    else
        criu_from_source
    fi
    works || fail "the CRIU in .criu does not start" "$(LD_LIBRARY_PATH=.criu/lib .criu/bin/criu --version 2>&1 | tail -n 1)"
    criu_version >.criu/.stamp
    say "CRIU $(cat .criu/.stamp) is in .criu"
}

criu_version() { LD_LIBRARY_PATH=.criu/lib .criu/bin/criu --version 2>/dev/null | sed -n 's/^Version: //p'; }

criu_from_package() {
    apt_install "migration (CRIU $offered)" criu libcriu2
    library=$(ldconfig -p | sed -n 's/.*libcriu\.so\.2 .*=> //p' | head -n 1)
    [ -n "$library" ] || fail "the package libcriu2 has no libcriu.so.2"
    mkdir -p .criu/bin .criu/lib
    cp -L "$(command -v criu)" .criu/bin/criu
    cp -L "$library" .criu/lib/libcriu.so.2
}

criu_from_source() {
    # libnet's development package is called libnet1-dev or libnet-dev, depending on the release.
    libnet=libnet1-dev
    if ! apt-cache show libnet1-dev >/dev/null 2>&1; then libnet=libnet-dev; fi
    build_needs=""
    for package in $CRIU_BUILD_PACKAGES $libnet; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || build_needs="$build_needs $package"
    done
    # shellcheck disable=SC2086
    [ -z "$build_needs" ] || apt_install "building CRIU" $build_needs

    work=$(mktemp -d)
    chmod 755 "$work"
    trap 'rm -rf "$work"' EXIT
    mirror=$(debian_mirror)
    # A source entry of its own, with its own lists: the system's apt never sees sid.
    mkdir -p "$work/lists/partial" "$work/source"
    cat >"$work/sid.sources" <<EOF
Types: deb-src
URIs: $mirror
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
    # A mirror that lags or a snapshot of one is good enough: signatures are still checked, and so is the version.
    set -- -o Acquire::Check-Valid-Until=false -o Dir::Etc::sourcelist="$work/sid.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o APT::Sandbox::User=root \
        -o Dir::Cache::srcpkgcache="$work/srcpkgcache.bin" -o Dir::Cache::pkgcache="$work/pkgcache.bin"
    say "fetching CRIU's source"
    quietly "$work/log" apt-get "$@" update -qq || fail "could not read Debian sid's source list from $mirror" \
        "CRIU $CRIU_MINIMUM or newer is needed; this release offers ${offered:-none}"
    (cd "$work/source" && quietly "$work/log" apt-get "$@" source --tar-only criu) ||
        fail "could not fetch CRIU's source from $mirror"
    say "building CRIU (half a minute)"
    (cd "$work/source" && tar xf criu_*.orig.tar.* && cd criu-*/ &&
        quietly "$work/build.log" make -j"$(nproc)" criu lib) || fail "CRIU did not build"
    mkdir -p .criu/bin .criu/lib
    cp "$work"/source/criu-*/criu/criu .criu/bin/criu
    cp -L "$work"/source/criu-*/lib/c/libcriu.so.2 .criu/lib/libcriu.so.2 2>/dev/null ||
        cp "$work"/source/criu-*/lib/c/libcriu.so.2.0 .criu/lib/libcriu.so.2 2>/dev/null ||
        cp "$work"/source/criu-*/lib/c/libcriu.so .criu/lib/libcriu.so.2
    rm -rf "$work"
    trap - EXIT
}

# The mirror this machine already uses for Debian, else Debian's own name for "the nearest".
debian_mirror() {
    used=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null |
        grep -E '/debian/?$' | head -n 1 || true)
    printf '%s' "${used:-http://deb.debian.org/debian}"
}
