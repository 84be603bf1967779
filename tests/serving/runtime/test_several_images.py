"""Requests of several images and several formats, in-process: they share passes and limits."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from serving.runtime.service import SegmentationService, load_service
from serving.types import HttpRequest, Response
from tests.archives import unpacked_archive
from tests.photos import encoded, photo

FORM = {"content-type": "multipart/form-data; boundary=x"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def service(folder: Path) -> Iterator[SegmentationService]:
    service = load_service(folder, "1.0", torch.device("cpu"), threads=2)
    yield service
    service.close()


class CountingNet(nn.Module):
    """The real network, the sizes of its batches noted; `after` is called at the end of each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        logits: Tensor = self.net(x)
        return logits


PHOTOS = [encoded(photo(64, 96, seed), "PNG") for seed in range(5)]
OTHER = encoded(photo(96, 64, 9), "PNG")
BROKEN = PHOTOS[0][:100]


def form(parts: Mapping[str, bytes], **headers: str) -> HttpRequest:
    return HttpRequest("id", {**FORM, **headers}, parts)


def numbered(*images: bytes, output: bytes) -> HttpRequest:
    return form({"output": output} | {f"image{index}": data for index, data in enumerate(images)})


def kserve(*images: bytes) -> HttpRequest:
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]
    return HttpRequest("id", JSON, {"body": json.dumps({"instances": instances}).encode()})


def respond(service: SegmentationService, *requests: HttpRequest) -> list[Response]:
    return service.respond(requests).responses


def alone(service: SegmentationService, image: bytes, output: str) -> bytes:
    (response,) = respond(service, form({"image": image, "output": output.encode()}))
    return response.body


def files_in(response: Response) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def count_calls(service: SegmentationService) -> CountingNet:
    counting = CountingNet(service.model.net)
    service.model = replace(service.model, net=counting)
    return counting


def test_images_of_a_list_are_as_alone(service: SegmentationService) -> None:
    (response,) = respond(service, numbered(PHOTOS[0], BROKEN, OTHER, output=b"json"))
    bodies = [alone(service, image, "json") for image in (PHOTOS[0], BROKEN, OTHER)]
    assert response.status == 200
    assert response.body == b"[" + b",".join(bodies) + b"]"


def test_kserve_predictions_are_as_alone(service: SegmentationService) -> None:
    (response,) = respond(service, kserve(PHOTOS[0], BROKEN, OTHER))
    singles = [json.loads(respond(service, kserve(image))[0].body) for image in (PHOTOS[0], OTHER)]
    error = json.loads(respond(service, kserve(BROKEN))[0].body)
    first, failed, last = json.loads(response.body)["predictions"]
    assert [{"predictions": [first]}, {"predictions": [last]}] == singles
    assert failed == error
    assert failed["error"].startswith("image_truncated: ")


def test_formats_of_an_archive_are_as_alone_from_one_pass(service: SegmentationService) -> None:
    counting = count_calls(service)
    parts = {"image": PHOTOS[0], "output": b"mask,overlay,json", "name": b"a.jpg"}
    (response,) = respond(service, form(parts))
    assert counting.sizes == [1]
    assert files_in(response) == {
        "a.jpg.mask.png": alone(service, PHOTOS[0], "mask"),
        "a.jpg.overlay.jpg": alone(service, PHOTOS[0], "overlay"),
        "a.jpg.json": alone(service, PHOTOS[0], "json"),
    }
    assert respond(service, form(parts))[0].body == response.body


def test_images_of_all_requests_share_passes_of_bounded_size(
    service: SegmentationService,
) -> None:
    counting = count_calls(service)
    alone = form({"image": PHOTOS[4]})
    responses = respond(service, numbered(*PHOTOS, output=b"json"), alone, kserve(*PHOTOS[:2]))
    assert [response.status for response in responses] == [200] * 3
    assert sorted(counting.sizes) == [4, 4]


def test_a_smaller_batch_size_bounds_the_passes(folder: Path) -> None:
    service = load_service(folder, "1.0", torch.device("cpu"), batch_size=2)
    counting = count_calls(service)
    respond(service, numbered(*PHOTOS, output=b"json"))
    assert counting.sizes == [2, 2, 1]
    service.close()


@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [
        ("max_pixels", 64 * 96 * 2, "image_too_large"),
        ("max_bytes", len(PHOTOS[0]) + len(PHOTOS[1]), "image_too_many_bytes"),
    ],
)
def test_the_images_share_the_limits(
    service: SegmentationService, limit: str, value: int, code: str
) -> None:
    service.limits = replace(service.limits, **{limit: value})
    first, second = respond(
        service, numbered(*PHOTOS[:3], output=b"json"), numbered(*PHOTOS[:2], output=b"json")
    )
    *read, refused = json.loads(first.body)
    assert all("classes" in entry for entry in read)
    assert refused["error"]["code"] == code
    assert refused["error"]["message"].endswith("share the limits: send fewer at a time.")
    assert all("classes" in entry for entry in json.loads(second.body))


def test_text_for_every_pixel_is_limited_together(service: SegmentationService) -> None:
    large = encoded(photo(1500, 2000), "PNG")
    (response,) = respond(service, numbered(large, large, output=b"legacy"))
    assert response.body.startswith(b"[[[[")
    assert b'"code":"answer_too_large"' in response.body
    assert b'"pixels":%d' % (2 * 1500 * 2000) in response.body


def test_when_the_batchs_time_is_up_the_rest_is_503(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not respond in time would be replaced, and its whole batch fail."""
    service = load_service(folder, "1.0", torch.device("cpu"), batch_size=1)
    counting = count_calls(service)
    seconds = iter([0.0, 30.0, 59.0, 61.0, *[62.0] * 10])  # the batch begins, then each pass
    monkeypatch.setattr("serving.runtime.service.monotonic", lambda: next(seconds))
    requests = [form({"image": image, "output": b"json"}) for image in PHOTOS[:4]]
    responses = respond(service, *requests)
    assert counting.sizes == [1, 1]
    assert [response.status for response in responses] == [200, 200, 503, 503]
    service.close()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_list_has_less_time_than_single_photos(
    folder: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    service = load_service(folder, "1.0", torch.device("cpu"), batch_size=batch_size)
    counting = count_calls(service)
    # The batch begins, then each pass.
    times = {1: [0.0, 1.0, 2.0, 3.0, 9.0, *[11.0] * 10], 4: [0.0, 9.0, 11.0, 12.0, *[13.0] * 10]}
    seconds = iter(times[batch_size])
    monkeypatch.setattr("serving.runtime.service.monotonic", lambda: next(seconds))
    single, other, many = respond(
        service,
        form({"image": PHOTOS[4], "output": b"json"}),
        form({"image": OTHER, "output": b"json"}),
        numbered(*PHOTOS[:4], OTHER, output=b"json"),
    )
    assert counting.sizes == {1: [1, 1, 1, 1], 4: [4, 1]}[batch_size]
    assert (single.status, other.status) == (200, 200)
    in_time = {1: 2, 4: 3}[batch_size]
    entries = json.loads(many.body)
    assert all("classes" in entry for entry in entries[:in_time])
    codes = [entry["error"]["code"] for entry in entries[in_time:]]
    assert codes == ["overloaded"] * (5 - in_time)
    service.close()


def test_metrics_count_images_by_their_own_status(service: SegmentationService) -> None:
    archive = form({"image": PHOTOS[0], "output": b"mask,json"})
    result = service.respond([numbered(PHOTOS[0], BROKEN, output=b"mask"), archive])
    counted = {s.labels: s.value for s in result.samples if s.name == "segmenter_images_total"}
    assert counted == {("mask", "200"): 1, ("mask", "400"): 1, ("zip", "200"): 1}


def test_stages_of_all_images_are_timed(service: SegmentationService) -> None:
    (response,) = respond(service, numbered(PHOTOS[0], OTHER, output=b"mask"))
    stages = [entry.split(";")[0] for entry in response.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "forward", "mask", "encode", "batch"]
