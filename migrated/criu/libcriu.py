"""libcriu by ctypes: one table of signatures, one of error conventions, one loader.

Only for short-lived processes: libcriu keeps process-global state and blocks. It is told its worker by a
descriptor (`criu_local_set_service_fd`), never to start one itself, because its own fork gives no way to
choose the loader, the PID and the configuration of the worker. Loaded by absolute path, once per process
and library.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

from .error import failure


class _Options(ctypes.Structure):
    """struct criu_opts, opaque."""


class _Notify(ctypes.Structure):
    """CriuNotify, opaque."""


_options_p = ctypes.POINTER(_Options)
_notify_p = ctypes.POINTER(_Notify)
NotifyCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, _notify_p)

_int, _uint, _bool, _str = ctypes.c_int, ctypes.c_uint, ctypes.c_bool, ctypes.c_char_p

# Not here on purpose: criu_local_set_page_server_address_port, which returns -ENOMEM whatever happens (criu
# 4.2.1 lib/c/criu.c); pages are streamed through `--ps-socket` on the worker's command line instead.
SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "criu_local_init_opts": ([ctypes.POINTER(_options_p)], _int),
    "criu_local_free_opts": ([_options_p], None),
    "criu_local_set_service_fd": ([_options_p, _int], None),
    "criu_local_set_pid": ([_options_p, _int], None),
    "criu_local_set_images_dir_fd": ([_options_p, _int], None),
    "criu_local_set_work_dir_fd": ([_options_p, _int], None),
    "criu_local_set_leave_running": ([_options_p, _bool], None),
    "criu_local_set_shell_job": ([_options_p, _bool], None),
    "criu_local_set_file_locks": ([_options_p, _bool], None),
    "criu_local_set_link_remap": ([_options_p, _bool], None),
    "criu_local_set_log_level": ([_options_p, _int], None),
    "criu_local_set_log_file": ([_options_p, _str], _int),
    "criu_local_set_manage_cgroups_mode": ([_options_p, _int], None),
    "criu_local_set_freeze_cgroup": ([_options_p, _str], _int),
    "criu_local_set_timeout": ([_options_p, _uint], None),
    "criu_local_set_ghost_limit": ([_options_p, _uint], None),
    "criu_local_set_network_lock": ([_options_p, _int], _int),
    "criu_local_add_inherit_fd": ([_options_p, _int, _str], _int),
    "criu_local_add_external": ([_options_p, _str], _int),
    "criu_local_set_notify_cb": ([_options_p, NotifyCallback], None),
    "criu_notify_pid": ([_notify_p], _int),
    "criu_local_check": ([_options_p], _int),
    "criu_local_dump": ([_options_p], _int),
    "criu_local_restore": ([_options_p], _int),
}

CG_MODE_IGNORE = 0
NETWORK_LOCK_SKIP = 3


def _check_negative(result: int, function: Callable[..., Any], _arguments: tuple[Any, ...]) -> int:
    """libcriu's convention: a negative errno, and errno itself set to what the worker reported (often 0)."""
    if result < 0:
        name = str(getattr(function, "__name__", "libcriu"))
        raise failure(f"do {name}", name, result, ctypes.get_errno(), [])
    return result


ERROR_CHECKERS: dict[str, Any] = {
    name: _check_negative for name, (_, result) in SIGNATURES.items() if result is _int and name != "criu_notify_pid"
}


@functools.lru_cache(maxsize=4)
def load(path: str) -> ctypes.CDLL:
    """The library at the absolute `path`, with all signatures set. OSError when it cannot be loaded."""
    if not os.path.isabs(path):
        raise ValueError(f"{path} is not an absolute path")
    library = ctypes.CDLL(path, use_errno=True)
    for name, (arguments, result) in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
        if checker := ERROR_CHECKERS.get(name):
            function.errcheck = checker
    return library


class Request:
    """One set of options and the call made with it. Use as a context manager; CriuError from every failing
    call.
    """

    def __init__(self, library: ctypes.CDLL, service_fd: int) -> None:
        """`service_fd`: this end of the socketpair whose other end a `criu swrk` has. The call closes it."""
        self._library = library
        self._handle = _options_p()
        self._callback: Any = None
        library.criu_local_init_opts(ctypes.byref(self._handle))
        self._service_fd = service_fd

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.criu_local_free_opts(self._handle)

    def call(self, name: str, *arguments: int | bool | str) -> int:
        """criu_local_<name> with these options in front; strings are passed as UTF-8."""
        function = getattr(self._library, f"criu_local_{name}")
        raw = [value.encode() if isinstance(value, str) else value for value in arguments]
        result = function(self._handle, *raw)
        return int(result) if result is not None else 0

    def perform(self, name: str) -> int:
        """criu_local_<name>: the operation itself, once, with all options set. Blocks until CRIU has
        answered.
        """
        # Only now: with a service descriptor set libcriu refuses inherited descriptors
        # (criu_local_add_inherit_fd).
        self._library.criu_local_set_service_fd(self._handle, self._service_fd)
        return self.call(name)

    def on_notify(self, callback: Callable[[str, int], int]) -> None:
        """Have `callback(stage, pid)` called at each stage; anything but 0 makes CRIU give up and undo its
        work.
        """

        def trampoline(stage: bytes | None, argument: Any) -> int:
            try:
                return callback((stage or b"").decode(), int(self._library.criu_notify_pid(argument)))
            except BaseException:
                return -1

        self._callback = NotifyCallback(trampoline)
        self._library.criu_local_set_notify_cb(self._handle, self._callback)
