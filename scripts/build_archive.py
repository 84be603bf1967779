"""Build the archive that TorchServe serves."""

import sys

from scripts.archive.build import main

if __name__ == "__main__":
    sys.exit(main())
