"""Sockets, netlink, processes: everything of the daemon that touches the kernel."""
