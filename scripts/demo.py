"""From a photo to a mask and an overlay on disk, through a TorchServe started for it.

    python -m scripts.demo photo.jpg

Without a photo it draws a street of its own.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import requests

from scripts.common.street import draw_street
from scripts.common.terminal import ROOT, UserError, exit_status, shown
from scripts.launch.loopback import session
from scripts.launch.ports import ports_from
from scripts.launch.service import ARCHIVE, DEFAULT_PORT, running_service
from scripts.launch.torchserve import Service, folder_for

OUTPUT = ROOT / "build" / "demo"

# Seconds. A photo of 50 megapixels on an old CPU stays well below.
ANSWER_SECONDS = 120.0


class DemoError(UserError):
    """The photo has no mask; one line that says why."""


def demo(photo: Path, archive: Path, port: int, output: Path) -> None:
    """Write `output`/<name>-mask.png and -overlay.jpg, and print what is in them."""
    try:
        body = photo.read_bytes()
    except OSError as error:
        raise DemoError(f"cannot read {photo}: {error.strerror}") from error
    output.mkdir(parents=True, exist_ok=True)
    with running_service(archive, folder_for(port), ports_from(port)) as service:
        mask = write(output / f"{photo.stem}-mask.png", ask(service, body, "mask").content)
        overlay = write(output / f"{photo.stem}-overlay.jpg", ask(service, body, "overlay").content)
        answer = ask(service, body, "json")
    report(answer.json(), photo, mask, overlay)
    print()
    print("Again, with a service that stays:")
    print(f"  make start{'' if port == DEFAULT_PORT else f' PORT={port}'}")
    print(f"  curl -T {shlex.quote(shown(photo))} {service.predictions} -o mask.png")


def ask(service: Service, body: bytes, output: str) -> requests.Response:
    """The answer named `output` for the image in `body`; DemoError with the service's own words."""
    url = f"{service.predictions}/1.0/{output}"
    try:
        answer = session().post(url, data=body, timeout=ANSWER_SECONDS)
    except requests.RequestException as error:
        raise DemoError(f"the service did not answer: {error}") from error
    if answer.ok:
        return answer
    try:
        reason = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        reason = answer.reason
    raise DemoError(f"the service answered {answer.status_code}: {reason}")


def report(answer: Any, photo: Path, mask: Path, overlay: Path) -> None:
    size = answer["size"]
    print()
    print(f"{shown(photo)}, {size['width']} x {size['height']}, by {answer['model']['name']}")
    for entry in answer["classes"]:
        print(f"  {entry['fraction']:7.1%}  {entry['label']}")
    if answer["model"]["name"].endswith("-random"):
        print("This model's weights are random: the classes mean nothing.")
    print()
    print(f"mask     {shown(mask)}")
    print(f"overlay  {shown(overlay)}")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def drawn(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_street().save(path, quality=90)
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.demo", description=__doc__.split("\n")[0]
    )
    parser.add_argument("photo", type=Path, nargs="?", help="default: a street, drawn on the spot")
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    options = parser.parse_args(arguments)

    def program() -> int:
        photo = options.photo or drawn(options.output / "street.jpg")
        demo(photo, options.archive, options.port, options.output)
        return 0

    return exit_status(program)


if __name__ == "__main__":
    sys.exit(main())
