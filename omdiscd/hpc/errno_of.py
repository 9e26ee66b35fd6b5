"""Which errno a refusal has in the hpc tree.

Owns the one table from error codes to errno, so that `echo abc > admin/block` says "Invalid argument" and
`migrate` can tell "unmovable" from "busy" as with openMosix (openmosix.md section 6).
"""

from __future__ import annotations

import errno

from omprotocol.errors import EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_TIMEOUT, EXIT_USAGE, MosixError

_BY_CODE = {
    "improper-value": errno.EINVAL,
    "bad-map": errno.EINVAL,
    "no-such-setting": errno.ENOENT,
    "permission": errno.EACCES,
    "no-such-process": errno.ESRCH,
    "no-such-node": errno.EINVAL,
    "no-response": errno.EHOSTDOWN,
    "unmovable": errno.EROFS,
    "cantmove": errno.EROFS,
    "busy": errno.EBUSY,
    "no-migration": errno.EOPNOTSUPP,
    "not-stored": errno.EIO,
    "too-many": errno.ENOSPC,
}
_BY_EXIT = {
    EXIT_USAGE: errno.EINVAL,
    EXIT_REFUSED: errno.EACCES,
    EXIT_NOT_FOUND: errno.ESRCH,
    EXIT_TIMEOUT: errno.ETIMEDOUT,
}


def errno_of(error: MosixError) -> int:
    """The errno for an error: by its code, else by its exit status, else EIO."""
    return _BY_CODE.get(error.code) or _BY_EXIT.get(error.exit_status, errno.EIO)
