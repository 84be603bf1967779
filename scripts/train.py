"""Train a preset's network on photos and masks."""

import sys

from scripts.training.train import main

if __name__ == "__main__":
    sys.exit(main())
