"""How fast scripts/segment.py is beside clients that only wait for their masks."""

import sys

from scripts.bench.client import main

if __name__ == "__main__":
    sys.exit(main())
