"""Pure decisions of the daemon: events and a clock reading in, commands out. No I/O."""
