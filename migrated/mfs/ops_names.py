"""Operations on names: lookup, forget, create, link, rename, remove."""

from __future__ import annotations

import errno
import os
from typing import Final

from migrated.mfs import syscalls
from migrated.mfs.fuse_constants import Opcode
from migrated.mfs.fuse_structs import (
    FORGET_IN,
    LINK_IN,
    MKDIR_IN,
    MKNOD_IN,
    RENAME2_IN,
    RENAME_IN,
    Header,
)
from migrated.mfs.fuse_wire import decode_dev, forgets, name_at
from migrated.mfs.session import Operation, Session, checked_name


def lookup(session: Session, header: Header, body: memoryview) -> bytes:
    name, _ = checked_name(body, 0)
    nodes = session.nodes
    parent = nodes.get(header.nodeid)
    if name == b"." or (name == b".." and parent is nodes.root):
        return session.entry(*nodes.again(parent))
    return session.entry(*nodes.lookup(parent, name))


def forget(session: Session, header: Header, body: memoryview) -> bytes:
    session.nodes.forget(header.nodeid, FORGET_IN.unpack(body).value)
    return b""


def batch_forget(session: Session, header: Header, body: memoryview) -> bytes:
    for one in forgets(body):
        session.nodes.forget(one.nodeid, one.nlookup)
    return b""


def readlink(session: Session, header: Header, body: memoryview) -> bytes:
    return os.readlink(b"", dir_fd=session.nodes.get(header.nodeid).fd)


def symlink(session: Session, header: Header, body: memoryview) -> bytes:
    name, end = checked_name(body, 0)
    target, _ = name_at(body, end)
    parent = session.nodes.get(header.nodeid)
    session.create_as(header, 0)
    os.symlink(target, name, dir_fd=parent.fd)
    return session.entry(*session.nodes.lookup(parent, name))


def mknod(session: Session, header: Header, body: memoryview) -> bytes:
    wish = MKNOD_IN.unpack(body)
    name, _ = checked_name(body, MKNOD_IN.size)
    parent = session.nodes.get(header.nodeid)
    session.create_as(header, wish.umask)
    os.mknod(name, wish.mode, os.makedev(*decode_dev(wish.rdev)), dir_fd=parent.fd)
    return session.entry(*session.nodes.lookup(parent, name))


def mkdir(session: Session, header: Header, body: memoryview) -> bytes:
    wish = MKDIR_IN.unpack(body)
    name, _ = checked_name(body, MKDIR_IN.size)
    parent = session.nodes.get(header.nodeid)
    session.create_as(header, wish.umask)
    os.mkdir(name, wish.mode & 0o7777, dir_fd=parent.fd)
    return session.entry(*session.nodes.lookup(parent, name))


def unlink(session: Session, header: Header, body: memoryview) -> bytes:
    name, _ = checked_name(body, 0)
    parent = session.nodes.get(header.nodeid)
    session.nodes.name_changes(parent, name)
    os.unlink(name, dir_fd=parent.fd)
    return b""


def rmdir(session: Session, header: Header, body: memoryview) -> bytes:
    name, _ = checked_name(body, 0)
    parent = session.nodes.get(header.nodeid)
    session.nodes.name_changes(parent, name)
    os.rmdir(name, dir_fd=parent.fd)
    return b""


def rename(session: Session, header: Header, body: memoryview) -> bytes:
    return _rename(session, header.nodeid, RENAME_IN.unpack(body).value, 0, body[RENAME_IN.size :])


def rename2(session: Session, header: Header, body: memoryview) -> bytes:
    wish = RENAME2_IN.unpack(body)
    return _rename(session, header.nodeid, wish.newdir, wish.flags, body[RENAME2_IN.size :])


def _rename(session: Session, source: int, target: int, flags: int, names: memoryview) -> bytes:
    old, end = checked_name(names, 0)
    new, _ = checked_name(names, end)
    nodes = session.nodes
    old_dir, new_dir = nodes.get(source), nodes.get(target)
    nodes.name_changes(old_dir, old)
    nodes.name_changes(new_dir, new)
    old_fd, new_fd = nodes.get(source).fd, nodes.get(target).fd
    if flags:
        syscalls.renameat2(old_fd, old, new_fd, new, flags)
    else:
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
    return b""


def link(session: Session, header: Header, body: memoryview) -> bytes:
    old = LINK_IN.unpack(body).value
    name, _ = checked_name(body, LINK_IN.size)
    nodes = session.nodes
    parent = nodes.get(header.nodeid)
    source = nodes.get(old)
    if parent.fd < 0:
        raise OSError(errno.ESTALE, "the directory is gone")
    os.link(str(source.fd), name, dst_dir_fd=parent.fd, follow_symlinks=True)
    return session.entry(*nodes.lookup(parent, name))


OPERATIONS: Final[dict[int, Operation]] = {
    Opcode.LOOKUP: lookup,
    Opcode.FORGET: forget,
    Opcode.BATCH_FORGET: batch_forget,
    Opcode.READLINK: readlink,
    Opcode.SYMLINK: symlink,
    Opcode.MKNOD: mknod,
    Opcode.MKDIR: mkdir,
    Opcode.UNLINK: unlink,
    Opcode.RMDIR: rmdir,
    Opcode.RENAME: rename,
    Opcode.RENAME2: rename2,
    Opcode.LINK: link,
}
