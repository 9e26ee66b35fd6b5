"""The node daemon: discovery, membership, control socket, configuration, and the one composition root."""

__version__ = "0.1.0"
