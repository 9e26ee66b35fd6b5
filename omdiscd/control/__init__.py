"""The control socket: who may ask what, and the registry of verbs."""
