#!/bin/sh
# Builds the Debian package: build.sh [DIRECTORY for the result, default dist]. Needs root or fakeroot, dpkg-dev.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "${1:-$root/dist}"
output=$(cd "${1:-$root/dist}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/openmosix
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")-1
architecture=$(dpkg --print-architecture)

sh "$root/packaging/stage.sh" "$stage"
python=$(basename "$(echo "$stage"/usr/lib/openmosix/venv/lib/python3.*)")

documents=$stage/usr/share/doc/openmosix
install -d -m 755 "$documents"
install -m 644 "$here/copyright" "$documents/copyright"
for page in README.md docs/SECURITY.md docs/FOLLOWING-THE-HOWTO.md; do
    [ -f "$root/$page" ] && install -m 644 "$root/$page" "$documents/"
done
printf 'openmosix (%s) unstable; urgency=medium\n\n  * openMosix in user space.\n\n -- %s  %s\n' "$version" \
    "openMosix maintainers <maintainers@openmosix.invalid>" "$(date -R -u -d @"${SOURCE_DATE_EPOCH:-0}")" |
    gzip -9n >"$documents/changelog.Debian.gz"
mkdir -p "$stage/usr/share/lintian/overrides"
install -m 644 "$here/lintian-overrides" "$stage/usr/share/lintian/overrides/openmosix"

find "$stage" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true
strip --strip-unneeded "$stage/usr/lib/openmosix/criu/bin/criu"
chmod 644 "$stage/usr/lib/openmosix/criu/lib/libcriu.so.2"

mkdir -p "$work/debian"
printf 'Source: openmosix\n\nPackage: openmosix\nArchitecture: any\n' >"$work/debian/control"
shared=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info -e "$stage/usr/lib/openmosix/criu/bin/criu" \
    -e "$stage/usr/lib/openmosix/criu/lib/libcriu.so.2" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')

control=$stage/DEBIAN
mkdir -p "$control"
size=$(du -sk --exclude=DEBIAN "$stage" | cut -f1)
cat >"$control/control" <<CONTROL
Package: openmosix
Version: $version
Architecture: $architecture
Maintainer: openMosix maintainers <maintainers@openmosix.invalid>
Installed-Size: $size
Depends: $python, procps, iproute2, passwd, init-system-helpers (>= 1.54~)${shared:+, $shared}
Recommends: python3-venv
Section: admin
Priority: optional
Homepage: https://openmosix.invalid/
Description: cluster of Linux machines that share processors and memory
 Every machine runs one daemon. The daemons find each other and move running,
 unmodified processes to where they run best; a process that has moved keeps
 its PID, terminal, files and sockets at its home node. The commands are those
 of openMosix: migrate, mosctl, mosrun, mosmon, mps, mtop, setpe, showmap.
CONTROL
printf '/etc/init.d/omdiscd\n/etc/init.d/openmosix\n/etc/profile.d/openmosix.sh\n' >"$control/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$control/$script"; done
(cd "$stage" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$control/md5sums"
chmod 644 "$control/control" "$control/conffiles" "$control/md5sums"

dpkg-deb --root-owner-group --build "$stage" "$output/openmosix_${version}_$architecture.deb"
