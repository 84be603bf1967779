"""Saturate the service for many minutes."""

import sys

from scripts.stress.soak import main

if __name__ == "__main__":
    sys.exit(main())
