"""Measure a preset on a folder of photos and masks."""

import sys

from scripts.training.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
