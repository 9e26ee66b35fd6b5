"""The node daemon: discovery, membership, control socket, configuration, and the one composition root."""
