"""What a process is and whether it can move: read-only facts from /proc, and reasons in openMosix's words."""
