"""Pixels of which a file says that they hold nothing are void in every response."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from scripts.stress.fuzz.tiff_writer import Values, tiff_file
from serving.runtime.service import SegmentationService, load_service
from serving.types import HttpRequest
from tests.archives import unpacked_archive
from tests.photos import photo

VOID = 255
HEIGHT, WIDTH = 64, 96  # px


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SegmentationService]:
    folder: Path = unpacked_archive(tmp_path_factory.mktemp("archive"))
    service = load_service(folder, "1.0", torch.device("cpu"), threads=2)
    yield service
    service.close()


def geotiff(no_data: str | None = None) -> bytes:
    """A photo whose first 16 rows are 0, and of which the last strip may be left out."""
    pixels = np.maximum(np.asarray(photo(HEIGHT, WIDTH)), 1)
    pixels[:16] = 0
    tags: dict[int, Values] = {256: WIDTH, 257: HEIGHT, 258: [8] * 3, 262: 2, 277: 3, 278: 16}
    strips = [pixels[top : top + 16].tobytes() for top in range(0, HEIGHT, 16)]
    if no_data is None:
        return tiff_file((tags, strips))
    return tiff_file(({**tags, 42113: no_data}, [*strips[:-1], b""]))


def respond(service: SegmentationService, body: bytes, output: str = "mask") -> bytes:
    headers = {"content-length": str(len(body)), "x-segmenter-output": output}
    (response,) = service.respond([HttpRequest("id", headers, {"body": body})]).responses
    assert response.status == 200, response.body
    return response.body


def mask_of(service: SegmentationService, body: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(respond(service, body))))


def test_they_are_void_and_the_others_have_a_class(service: SegmentationService) -> None:
    assert (mask_of(service, geotiff()) != VOID).all()
    mask = mask_of(service, geotiff(no_data="0"))
    assert (mask[:16] == VOID).all()
    assert (mask[-16:] == VOID).all()
    assert (mask[16:-16] != VOID).all()


def test_json_counts_them_as_void(service: SegmentationService) -> None:
    mask = mask_of(service, geotiff(no_data="0"))
    content = json.loads(respond(service, geotiff(no_data="0"), "json"))
    pixels = {entry["id"]: entry["pixels"] for entry in content["classes"]}
    assert pixels == {int(value): int((mask == value).sum()) for value in np.unique(mask)}
    (void,) = (entry for entry in content["classes"] if entry["id"] == content["void"])
    assert (void["fraction"], void["label"]) == (0.5, "void")


def test_annotations_leave_them_out(service: SegmentationService) -> None:
    content = json.loads(respond(service, geotiff(no_data="0"), "coco"))
    assert sum(each["area"] for each in content["annotations"]) == HEIGHT * WIDTH // 2
