#!/bin/sh
# Makes the tree that both packages contain: stage.sh DIRECTORY (new). What only building needs is left out.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
stage=$1
sh "$root/setup/install.sh" install /usr "$stage"
library=$stage/usr/lib/openmosix
site=$(echo "$library"/venv/lib/python3.*/site-packages)
rm -rf "$site"/pip "$site"/pip-* "$site"/setuptools "$site"/setuptools-* "$site"/pkg_resources "$site"/_distutils_hack \
    "$site"/distutils-precedence.pth
find "$library/venv/bin" -name 'pip*' -o -name '*ctivate*' | xargs rm -f
# These belong to libraries, not to us.
rm -f "$library"/venv/bin/cffi-gen-src "$library"/venv/bin/idna "$library"/venv/bin/markdown-it \
    "$library"/venv/bin/pygmentize "$library/installed-files"
find "$stage" -name __pycache__ -type d -prune -exec rm -rf {} +
find "$stage/usr/share/man" -type f ! -name '*.gz' -exec gzip -9n {} +
find "$stage" -type d -exec chmod 755 {} +
chmod -R go-w,u+rwX,go+rX "$stage"
