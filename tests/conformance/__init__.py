"""The conformance suite: self-checking programs that are moved while they run, and the table of what holds."""
