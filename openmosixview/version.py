"""The version of the view, shown in its about box."""

VERSION = "0.1.0"
