"""Send hostile requests to a service started for it."""

import sys

from scripts.stress.fuzz import main

if __name__ == "__main__":
    sys.exit(main())
