"""The cluster in a browser: an unprivileged process that knows the control socket and nothing else of the daemon."""
