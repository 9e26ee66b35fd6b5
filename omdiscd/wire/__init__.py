"""Bytes to structs and back: codec, seal and open. Pure."""
