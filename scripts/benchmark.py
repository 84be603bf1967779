"""Time the service against the plain ways of doing the same."""

import sys

from scripts.bench.cpu import main

if __name__ == "__main__":
    sys.exit(main())
