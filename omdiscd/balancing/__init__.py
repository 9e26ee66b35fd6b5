"""The balancer in the daemon: what it is told about this machine, and what is done of what it says."""
