"""The interpreter for programs that tests start as another user.

The environment's own may lie where only its owner gets to (a checkout below /root, say), and so may the files
of the tests: give the program as text (-c), with nothing but the standard library.
"""

import sys
from pathlib import Path

_SYSTEM = Path("/usr/bin/python3")
PYTHON = str(_SYSTEM) if _SYSTEM.exists() else sys.executable
