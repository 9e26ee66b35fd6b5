"""`python -m openmosixview`: the command openmosixview."""

import sys

from openmosixview.main import view_main

if __name__ == "__main__":
    sys.exit(view_main())
