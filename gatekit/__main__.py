"""`python -m gatekit` is the command `gatekit`."""

import sys

from gatekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
