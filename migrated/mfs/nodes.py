"""Inodes known to the guest's kernel: node number to file at home.

Owns: one O_PATH descriptor per node in use, the kernel's lookup counts, and the cap on descriptors. At the cap
the descriptors of nodes that have not been used lately are closed; such a node is opened again by its parent and
name and must then be the same inode, else ESTALE. A node whose name no longer leads to it keeps its descriptor.
The process must have /proc/self/fd as working directory: "17" is then the path of descriptor 17.
"""

from __future__ import annotations

import errno
import os
import resource
from itertools import chain
from typing import Final

from migrated.mfs.fuse_constants import ROOT_ID

MAX_NODES: Final = 2_000_000
"""Inodes one guest kernel may hold; beyond it lookups fail with ENFILE."""
FD_MARGIN: Final = 128
"""Descriptors of the process's limit that stay free for one request's needs."""
MAX_DEPTH: Final = 4096
"""Directories in each other that are opened again one after the other; a path has fewer."""
_DOTS: Final = (b".", b"..")
_DIRECTORY: Final = 0o040000
_PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

Key = tuple[int, int]


class Node:
    """One inode: `fd` is -1 while it is closed; `refs` counts the kernel's lookups and closed children."""

    __slots__ = ("fd", "id", "key", "kind", "name", "parent", "refs", "used")

    def __init__(self, number: int, fd: int, key: Key, kind: int, parent: Node | None, name: bytes) -> None:
        self.id = number
        self.fd = fd
        self.key = key
        self.kind = kind
        self.parent = parent
        self.name = name
        self.refs = 1
        self.used = False


class NodeTable:
    """All nodes of one connection.

    max_fds: O_PATH descriptors kept open between requests, None for as many as the process may have.
    """

    def __init__(self, root_fd: int, max_fds: int | None = None, max_nodes: int = MAX_NODES) -> None:
        status = os.stat(root_fd)
        key = (status.st_dev, status.st_ino)
        self.root = Node(ROOT_ID, root_fd, key, status.st_mode & 0o170000, None, b"")
        self.root_dev = status.st_dev
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.max_fds = self._limit if max_fds is None else max_fds
        self.max_nodes = max_nodes
        self._by_id = {ROOT_ID: self.root}
        self._by_key = {key: self.root}
        self._open: dict[int, Node] = {}
        self._closed_names: dict[tuple[int, bytes], Node] = {}
        self._next = ROOT_ID + 1
        self._making_room = False

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def crowded(self) -> bool:
        """True when a request that would open many nodes should open no more."""
        return len(self._open) >= self.max_fds

    def get(self, number: int) -> Node:
        """The node with an open descriptor; raises OSError ESTALE when it is unknown or cannot be opened again."""
        node = self._by_id.get(number)
        if node is None:
            raise OSError(errno.ESTALE, "unknown node")
        if node.fd < 0:
            self._reopen(node)
        node.used = True
        return node

    def path(self, number: int) -> str:
        """Path of the inode itself (also when it is a symbolic link), relative to /proc/self/fd."""
        return str(self.get(number).fd)

    def lookup(self, parent: Node, name: bytes) -> tuple[Node, os.stat_result]:
        """Find `name` in `parent` and count one lookup of the kernel; raises OSError.

        Only directories get a descriptor at once: they are what a process stands in when home renames them.
        """
        status = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        kind = status.st_mode & 0o170000
        key = (status.st_dev, status.st_ino)
        slot = (parent.id, name)
        node = self._by_key.get(key)
        if node is None or node.kind != kind:
            if kind == _DIRECTORY or slot in self._closed_names:
                return self._adopt(self._open_path(name, parent.fd), parent, name)
            node = self._add(-1, key, kind, parent, name)
            self._closed_names[slot] = node
            parent.refs += 1
            return node, status
        node.refs += 1
        if node is self.root or name in _DOTS:
            return node, status
        if node.fd >= 0:
            node.parent = parent
            node.name = name
        elif slot not in self._closed_names:
            self._move_closed(node, parent, name)
        return node, status

    def status(self, number: int) -> os.stat_result:
        """Attributes of the node, without opening it for that; raises OSError."""
        node = self._by_id.get(number)
        if node is not None and node.fd < 0 and node.parent is not None and node.parent.fd >= 0:
            try:
                status = os.stat(node.name, dir_fd=node.parent.fd, follow_symlinks=False)
            except FileNotFoundError as error:
                raise OSError(errno.ESTALE, "the file has moved") from error
            if (status.st_dev, status.st_ino) == node.key:
                return status
        return os.stat(self.get(number).fd)

    def adopt_open(self, fd: int, parent: Node, name: bytes) -> tuple[Node, os.stat_result]:
        """As lookup(), for a file that is open already as `fd`."""
        return self._adopt(os.open(str(fd), os.O_PATH | os.O_CLOEXEC), parent, name)

    def again(self, node: Node) -> tuple[Node, os.stat_result]:
        """Count one more lookup of a node that is known."""
        status = os.stat(node.fd)
        node.refs += 1
        return node, status

    def forget(self, number: int, count: int) -> None:
        """The kernel drops `count` lookups; at zero the node and its descriptor are gone."""
        node = self._by_id.get(number)
        if node is not None and node is not self.root:
            self._unref(node, count)

    def name_changes(self, parent: Node, name: bytes) -> None:
        """Must be called before `name` in `parent` is removed or replaced: a closed node there is opened first."""
        node = self._closed_names.get((parent.id, name))
        if node is not None:
            try:
                self._reopen(node)
            except OSError:
                return

    def close(self) -> None:
        """Close every descriptor; the table is of no use afterwards."""
        for node in self._by_id.values():
            if node.fd >= 0:
                os.close(node.fd)
                node.fd = -1
        self._by_id.clear()
        self._by_key.clear()
        self._open.clear()
        self._closed_names.clear()

    def trim(self, others: int) -> None:
        """Between requests: get below the cap when `others` descriptors are in use beside the nodes'."""
        cap = min(self.max_fds, self._limit - FD_MARGIN - others)
        if len(self._open) > cap:
            self.make_room(len(self._open) - cap + cap // 8)

    def make_room(self, count: int) -> int:
        """Close up to `count` descriptors of nodes not used since the last call; how many were closed.

        Nodes used by the request being served are spared. Files go first, then directories, the newest first: a
        directory is needed to close what is in it.
        """
        if self._making_room:
            return 0
        self._making_room = True
        try:
            files = [node for node in self._open.values() if node.kind != _DIRECTORY]
            directories = [node for node in reversed(self._open.values()) if node.kind == _DIRECTORY]
            before = len(self._open)
            for node in chain(files, directories):
                if before - len(self._open) >= count:
                    break
                if node.used:
                    node.used = False
                elif node.fd >= 0:
                    self._shut(node)
            return before - len(self._open)
        finally:
            self._making_room = False

    def _add(self, fd: int, key: Key, kind: int, parent: Node | None, name: bytes) -> Node:
        if len(self._by_id) >= self.max_nodes:
            raise OSError(errno.ENFILE, "too many nodes")
        node = Node(self._next, fd, key, kind, parent, name)
        self._next += 1
        self._by_id[node.id] = node
        self._by_key[key] = node
        return node

    def _adopt(self, fd: int, parent: Node, name: bytes) -> tuple[Node, os.stat_result]:
        try:
            status = os.stat(fd)
            kind = status.st_mode & 0o170000
            key = (status.st_dev, status.st_ino)
            node = self._by_key.get(key)
            if node is None or node.kind != kind:
                node = self._add(fd, key, kind, None if name in _DOTS else parent, name)
                self._open[node.id] = node
                return node, status
        except BaseException:
            os.close(fd)
            raise
        node.refs += 1
        if node.fd >= 0:
            os.close(fd)
        else:
            self._opened(node, fd)
        if node is not self.root and name not in _DOTS:
            node.parent = parent
            node.name = name
        return node, status

    def _move_closed(self, node: Node, parent: Node, name: bytes) -> None:
        """The closed node was just seen under another name."""
        before = node.parent
        parent.refs += 1
        if before is not None:
            self._closed_names.pop((before.id, node.name), None)
            self._unref(before, 1)
        node.parent = parent
        node.name = name
        self._closed_names[parent.id, name] = node

    def _open_path(self, name: bytes, dir_fd: int) -> int:
        try:
            return os.open(name, _PATH_FLAGS, dir_fd=dir_fd)
        except OSError as error:
            if error.errno != errno.EMFILE or not self.make_room(FD_MARGIN):
                raise
            return os.open(name, _PATH_FLAGS, dir_fd=dir_fd)

    def _shut(self, node: Node) -> None:
        """Close the node's descriptor if its name still leads to it."""
        parent = node.parent
        if parent is None or self._by_id.get(parent.id) is not parent:
            return
        if (parent.id, node.name) in self._closed_names:
            return
        try:
            if parent.fd < 0:
                self._reopen(parent)
            status = os.stat(node.name, dir_fd=parent.fd, follow_symlinks=False)
        except OSError:
            return
        if (status.st_dev, status.st_ino) != node.key:
            return
        os.close(node.fd)
        node.fd = -1
        del self._open[node.id]
        parent.refs += 1
        self._closed_names[parent.id, node.name] = node

    def _reopen(self, node: Node) -> None:
        """Open a closed node again by its name; parents first, without recursion."""
        path = [node]
        while (parent := path[-1].parent) is not None and parent.fd < 0:
            path.append(parent)
            if len(path) > MAX_DEPTH:
                raise OSError(errno.ESTALE, "directories that contain each other")
        for item in reversed(path):
            above = item.parent
            if above is None:
                raise OSError(errno.ESTALE, "no way back to the inode")
            above.used = True
            try:
                fd = self._open_path(item.name, above.fd)
            except FileNotFoundError as error:
                raise OSError(errno.ESTALE, "the file has moved") from error
            status = os.stat(fd)
            if (status.st_dev, status.st_ino) != item.key or status.st_mode & 0o170000 != item.kind:
                os.close(fd)
                raise OSError(errno.ESTALE, "another file has taken the name")
            self._opened(item, fd)
            item.used = True

    def _opened(self, node: Node, fd: int) -> None:
        parent = node.parent
        node.fd = fd
        self._open[node.id] = node
        if parent is not None:
            self._closed_names.pop((parent.id, node.name), None)
            self._unref(parent, 1)

    def _unref(self, node: Node, count: int) -> None:
        while True:
            node.refs -= count
            if node.refs > 0 or node is self.root:
                return
            del self._by_id[node.id]
            if self._by_key.get(node.key) is node:
                del self._by_key[node.key]
            if node.fd >= 0:
                del self._open[node.id]
                os.close(node.fd)
                node.fd = -1
                return
            parent = node.parent
            if parent is None:
                return
            self._closed_names.pop((parent.id, node.name), None)
            node, count = parent, 1
