"""libcriu by ctypes, used only inside short-lived processes of its own."""
