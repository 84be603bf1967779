"""From a photo to a mask and an overlay on disk, by an instance started for it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from scripts.common.street import draw_street
from scripts.common.terminal import UserError, shown
from scripts.launch.archives import kept_archive
from scripts.launch.instance import DEFAULT_PORT, folder_for
from scripts.launch.lifecycle import running_instance
from scripts.launch.ports import ports_from
from segmenter_client import SegmenterError, Service
from segmenter_client.responses import Summary


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
    with (
        running_instance(archive, folder_for(port), ports_from(port)) as instance,
        Service(instance.predictions) as service,
    ):
        try:
            outputs = service.predict_all(body, ["mask", "overlay", "json"])
        except SegmenterError as error:
            raise DemoError(str(error)) from error
    mask.write_bytes(outputs["mask"])
    overlay.write_bytes(outputs["overlay"])
    print_summary(json.loads(outputs["json"]), photo, mask, overlay)
    print()
    print("Again, with a service that stays:")
    target = "start" if kept_archive(folder_for(port)) is None else "deploy start"
    print(f"  make {target}{'' if port == DEFAULT_PORT else f' PORT={port}'}")
    print(f"  curl -T {shlex.quote(shown(photo))} {instance.predictions} -o mask.png")


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
