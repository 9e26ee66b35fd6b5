"""A cluster of virtual nodes on one machine, for trying and for tests."""
