"""Inodes known to the guest's kernel: node number to file at home.

Owns: one O_PATH descriptor per node, the kernel's lookup counts, and the cap on descriptors. When the cap is reached
the descriptors of nodes that have not been used lately are closed; such a node is opened again by its parent
and name and must then be the same inode, else ESTALE. A node whose name no longer leads to it keeps its
descriptor. The process must have /proc/self/fd as working directory: "17" is then the path of descriptor 17.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from migrated.mfs.fuse_constants import ROOT_ID

MAX_NODES: Final = 2_000_000
"""Inodes one guest kernel may hold; beyond it lookups fail with ENFILE."""
FD_RESERVE: Final = 1024
"""Descriptors of the limit that are left for open files."""
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
    """All nodes of one connection; `max_fds` >= 16 is the number of O_PATH descriptors kept open."""

    def __init__(self, root_fd: int, max_fds: int, max_nodes: int = MAX_NODES) -> None:
        status = os.stat(root_fd)
        key = (status.st_dev, status.st_ino)
        self.root = Node(ROOT_ID, root_fd, key, status.st_mode & 0o170000, None, b"")
        self.root_dev = status.st_dev
        self.max_fds = max_fds
        self.max_nodes = max_nodes
        self._by_id = {ROOT_ID: self.root}
        self._by_key = {key: self.root}
        self._open: dict[int, Node] = {}
        self._closed_names: dict[tuple[int, bytes], Node] = {}
        self._next = ROOT_ID + 1

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def open_fds(self) -> int:
        """O_PATH descriptors held, the root's included."""
        return len(self._open) + 1

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
        """Find `name` in `parent` and count one lookup of the kernel; raises OSError."""
        return self._adopt(self._open_path(name, parent.fd), parent, name)

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

    def make_room(self, count: int = 1) -> None:
        """Close descriptors not used lately until `count` more fit below the cap, as far as that is possible."""
        tries = 2 * len(self._open)
        while tries > 0 and len(self._open) + count >= self.max_fds:
            tries -= 1
            node = self._open.pop(next(iter(self._open)))
            if node.used or not self._shut(node):
                node.used = False
                self._open[node.id] = node

    def _adopt(self, fd: int, parent: Node, name: bytes) -> tuple[Node, os.stat_result]:
        try:
            status = os.stat(fd)
            key = (status.st_dev, status.st_ino)
            node = self._by_key.get(key)
            if node is None and len(self._by_id) >= self.max_nodes:
                raise OSError(errno.ENFILE, "too many nodes")
        except BaseException:
            os.close(fd)
            raise
        if node is None:
            kind = status.st_mode & 0o170000
            node = Node(self._next, fd, key, kind, parent, name)
            self._next += 1
            self._by_id[node.id] = node
            self._by_key[key] = node
            self._open[node.id] = node
            return node, status
        if node.fd >= 0:
            os.close(fd)
        else:
            self._opened(node, fd)
        node.refs += 1
        if node is not self.root:
            node.parent = parent
            node.name = name
        return node, status

    def _open_path(self, name: bytes, dir_fd: int) -> int:
        if len(self._open) >= self.max_fds - 1:
            self.make_room()
        try:
            return os.open(name, _PATH_FLAGS, dir_fd=dir_fd)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            self.max_fds = max(16, len(self._open) - FD_RESERVE // 4)
            self.make_room()
            return os.open(name, _PATH_FLAGS, dir_fd=dir_fd)

    def _shut(self, node: Node) -> bool:
        """Close the node's descriptor if its name still leads to it."""
        parent = node.parent
        if parent is None or parent.fd < 0 or self._by_id.get(parent.id) is not parent:
            return False
        if (parent.id, node.name) in self._closed_names:
            return False
        try:
            status = os.stat(node.name, dir_fd=parent.fd, follow_symlinks=False)
        except OSError:
            return False
        if (status.st_dev, status.st_ino) != node.key:
            return False
        os.close(node.fd)
        node.fd = -1
        parent.refs += 1
        self._closed_names[parent.id, node.name] = node
        return True

    def _reopen(self, node: Node) -> None:
        """Open a closed node again by its name; parents first, without recursion."""
        chain = [node]
        while (parent := chain[-1].parent) is not None and parent.fd < 0:
            chain.append(parent)
        for item in reversed(chain):
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
