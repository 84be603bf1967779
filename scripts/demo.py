"""From a photo to a mask and an overlay on disk, through a TorchServe started for it.

    python -m scripts.demo photo.jpg

Without a photo it draws a street of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.archive.latest import BUILD, LATEST_ARCHIVE
from scripts.common.terminal import exit_status
from scripts.launch.demo import demo, drawn_street
from scripts.launch.instance import DEFAULT_PORT


def execute(options: argparse.Namespace) -> int:
    photo = options.photo or drawn_street(options.output / "street.jpg")
    demo(photo, options.archive, options.port, options.output)
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.demo", description=__doc__.split("\n")[0]
    )
    parser.add_argument("photo", type=Path, nargs="?", help="default: a street, drawn on the spot")
    parser.add_argument("--archive", type=Path, default=LATEST_ARCHIVE, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=BUILD / "demo", help="default: %(default)s")
    options = parser.parse_args(arguments)
    return exit_status(lambda: execute(options))


if __name__ == "__main__":
    sys.exit(main())
