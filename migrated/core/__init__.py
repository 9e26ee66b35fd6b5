"""Pure core of migration: commit protocol, leases, relays' bookkeeping."""
