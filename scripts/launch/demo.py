"""From a photo to a mask and an overlay on disk, by an instance started for it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TypedDict

import requests

from scripts.common.street import draw_street
from scripts.common.terminal import UserError, shown
from scripts.launch.archives import kept_archive
from scripts.launch.instance import DEFAULT_PORT, Instance, folder_for
from scripts.launch.lifecycle import running_instance
from scripts.launch.loopback import session
from scripts.launch.ports import ports_from

# Seconds. A photo of 50 megapixels on an old CPU stays well below.
RESPONSE_SECONDS = 120.0


class Size(TypedDict):
    width: int
    height: int


class Model(TypedDict):
    name: str


class ClassShare(TypedDict):
    label: str
    fraction: float


class Summary(TypedDict):
    """What is printed of the output format json."""

    size: Size
    model: Model
    classes: list[ClassShare]


class DemoError(UserError):
    """The photo has no mask; one line that says why."""


def demo(photo: Path, archive: Path, port: int, output: Path) -> None:
    """Write `output`/<name>-mask.png and -overlay.jpg, and print what is in them."""
    try:
        body = photo.read_bytes()
    except OSError as error:
        raise DemoError(f"cannot read {photo}: {error.strerror}") from error
    output.mkdir(parents=True, exist_ok=True)
    mask, overlay = output / f"{photo.stem}-mask.png", output / f"{photo.stem}-overlay.jpg"
    with running_instance(archive, folder_for(port), ports_from(port)) as instance:
        mask.write_bytes(predict(instance, body, "image/png").content)
        overlay.write_bytes(predict(instance, body, "image/jpeg").content)
        summary = predict(instance, body, "application/json").json()
    print_summary(summary, photo, mask, overlay)
    print()
    print("Again, with a service that stays:")
    target = "start" if kept_archive(folder_for(port)) is None else "deploy start"
    print(f"  make {target}{'' if port == DEFAULT_PORT else f' PORT={port}'}")
    print(f"  curl -T {shlex.quote(shown(photo))} {instance.predictions} -o mask.png")


def predict(instance: Instance, body: bytes, media_type: str) -> requests.Response:
    """The response of that type to the image `body`; DemoError with the service's own message."""
    try:
        response = session().post(
            instance.predictions,
            data=body,
            headers={"Accept": media_type},
            timeout=RESPONSE_SECONDS,
        )
    except requests.RequestException as error:
        raise DemoError(f"the service did not respond: {error}") from error
    if response.ok:
        return response
    try:
        reason = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        reason = response.reason
    raise DemoError(f"the service responded with status {response.status_code}: {reason}")


def print_summary(summary: Summary, photo: Path, mask: Path, overlay: Path) -> None:
    """Print the format `json`, and where the files are."""
    size, model = summary["size"], summary["model"]["name"]
    print()
    print(f"{shown(photo)}, {size['width']} x {size['height']}, by {model}")
    for entry in summary["classes"]:
        print(f"  {entry['fraction']:7.1%}  {entry['label']}")
    if model.endswith("-random"):
        print("This model's weights are random: the classes mean nothing.")
    print()
    print(f"mask     {shown(mask)}")
    print(f"overlay  {shown(overlay)}")


def drawn_street(path: Path) -> Path:
    """The path, with a JPEG of the drawn street in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_street().save(path, quality=90)
    return path
