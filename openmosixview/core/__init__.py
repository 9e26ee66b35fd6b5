"""The pure parts of the view: figures, tables and series computed from values."""
