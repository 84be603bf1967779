"""Segment images by a running service."""

import sys

from segmenter_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
