"""The cluster in a browser: an unprivileged process that knows only the control socket."""
