"""Time the forward on a GPU."""

import sys

from scripts.bench.gpu import main

if __name__ == "__main__":
    sys.exit(main())
