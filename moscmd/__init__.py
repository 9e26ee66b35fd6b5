"""The command-line tools. They know only the control socket."""
