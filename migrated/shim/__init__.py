"""The processes that outlive the daemon: one per process away, one per guest."""
