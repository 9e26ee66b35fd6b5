#!/bin/sh
# Everything this checkout needs, and nothing that is already there: packages, .venv, CRIU.
# A second run finds its stamps and ends at once. Run as root when packages are missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
cd "$root"

# Two runs at the same time (two terminals, a demo and a test) must not build over each other.
exec 9>"$root/.setup.lock"
if command -v flock >/dev/null; then flock 9; fi

. "$here/say.sh"
. "$here/packages.sh"
. "$here/venv.sh"
. "$here/criu.sh"

set_up_packages
set_up_venv
set_up_criu
