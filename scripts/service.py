"""Start, stop or run the service."""

import sys

from scripts.launch.service import main

if __name__ == "__main__":
    sys.exit(main())
