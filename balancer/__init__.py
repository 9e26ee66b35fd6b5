"""Load, gossip, cost, decision and explanation. Pure: no I/O, no clock, no randomness of its own."""
