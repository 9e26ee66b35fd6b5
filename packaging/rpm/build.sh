#!/bin/sh
# Builds the RPM package: build.sh [DIRECTORY for the result, default dist]. Needs rpmbuild (on Debian: package rpm).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "${1:-$root/dist}"
output=$(cd "${1:-$root/dist}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")

sh "$root/packaging/stage.sh" "$work/stage"
python=$(basename "$(echo "$work"/stage/usr/lib/openmosix/venv/lib/python3.*)")
rpmbuild -bb --quiet --define "_topdir $work/rpm" --define "_rpmdir $output" --define "stage $work/stage" \
    --define "om_version $version" --define "om_python $python" "$here/openmosix.spec"
