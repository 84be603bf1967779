"""The service in-process: batches, groups, and failures that stay where they happen."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from imaging import decode_image
from imaging.mask.class_mask import class_mask_plain
from imaging.resize import fit_size, resize
from model import optimize_for_inference
from model.normalization import normalize
from model.preset import build_network
from serving.errors import queue_full, response_too_large
from serving.runtime.exchange import Exchange, ImageExchange
from serving.runtime.service import SegmentationService, load_service
from serving.telemetry.metrics import BatchStats
from serving.types import HttpRequest, Response
from tests.archives import unpacked_archive
from tests.photos import agreement, encoded, photo, png_header

CPU = torch.device("cpu")
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def service(folder: Path) -> Iterator[SegmentationService]:
    service = load_service(folder, "1.0", CPU, threads=2)
    yield service
    service.close()


class CountingNet(nn.Module):
    """The real network, its calls' shapes noted; out of memory above `capacity` images."""

    def __init__(self, net: nn.Module, capacity: int = 1000) -> None:
        super().__init__()
        self.net = net
        self.capacity = capacity
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        if len(x) > self.capacity:
            torch.empty(1 << 60, dtype=torch.uint8)  # the CPU's own error
        logits: Tensor = self.net(x)
        return logits


def test_a_batch_of_eight_with_three_bad_ones(service: SegmentationService) -> None:
    good = [photo_bytes(64, 96, seed) for seed in range(5)]
    truncated = good[0][: len(good[0]) // 2]
    oversized = png_header(60_000, 60_000)
    bodies = [good[0], truncated, good[1], oversized, good[2], b"just some text\n", *good[3:]]

    responses = respond(service, bodies)

    assert [response.status for response in responses] == [200, 400, 200, 413, 200, 415, 200, 200]
    assert error_code(responses[1]) == "image_truncated"
    assert error_code(responses[3]) == "image_too_large"
    assert error_code(responses[5]) == "unsupported_format"
    for index, body in zip((0, 2, 4, 6, 7), good):
        mask = mask_in(responses[index])
        assert agreement(mask, mask_alone(service, body)) > 0.98


def test_a_response_without_a_batch_is_signed_and_in_its_protocols_form(
    service: SegmentationService,
) -> None:
    response = service.immediate(queue_full(), {})
    assert json.loads(response.body)["error"]["code"] == "overloaded"
    assert response.headers["Model-Digest"] == service.model.digest
    assert {"Retry-After", "Server-Timing"} <= response.headers.keys()
    kserve = service.immediate(queue_full(), {"x-segmenter-protocol": "kserve"})
    assert json.loads(kserve.body)["error"].startswith("overloaded: ")


def test_one_forward_for_each_input_shape(service: SegmentationService) -> None:
    counting = count_calls(service)
    sizes = [(64, 96), (96, 64), (64, 96), (80, 80), (128, 192)]  # the last scales to the first's
    respond(service, [photo_bytes(h, w, seed=h) for h, w in sizes])
    assert sorted(shape[0] for shape in counting.shapes) == [1, 1, 3]


def test_masks_are_those_of_the_plain_recipe(service: SegmentationService, folder: Path) -> None:
    """decode -> resize -> normalise -> forward -> interpolate -> argmax, written out."""
    body = photo_bytes(75, 113)
    image = decode_image(body)
    preset = service.model.preset
    pixels = resize(image, fit_size(*image.size, preset.short_side))
    plain = build_network(preset).eval()
    plain.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    logits = optimize_for_inference(plain)(normalize(pixels[None], preset.mean, preset.std))
    expected = class_mask_plain(logits, (75, 113))[0].numpy()
    assert np.array_equal(mask_alone(service, body), expected)


def test_out_of_memory_halves_the_group(service: SegmentationService) -> None:
    bodies = [photo_bytes(64, 96, seed) for seed in range(5)]
    expected = respond(service, bodies)
    counting = count_calls(service, capacity=2)
    responses = respond(service, bodies)
    for response, whole in zip(responses, expected, strict=True):
        assert agreement(mask_in(response), mask_in(whole)) > 0.98
    assert [shape[0] for shape in counting.shapes] == [4, 2, 2, 1]
    assert all(response.status == 200 for response in responses)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_masks_of_the_cpu(service: SegmentationService, folder: Path) -> None:
    """Each shape runs without a graph, is captured, and is replayed."""
    on_gpu = load_service(folder, "1.0", torch.device("cuda:0"), threads=2)
    bodies = [photo_bytes(64, 96, 1), photo_bytes(96, 64, 2), photo_bytes(64, 96, 3)]
    expected = [mask_alone(service, body) for body in bodies]
    for _ in range(3):
        for response, mask in zip(respond(on_gpu, bodies), expected, strict=True):
            assert agreement(mask_in(response), mask) > 0.98
    on_gpu.close()


def test_an_image_that_does_not_fit_alone_is_503(service: SegmentationService) -> None:
    count_calls(service, capacity=0)
    (response,) = respond(service, [photo_bytes(64, 96)])
    assert response.status == 503
    assert error_code(response) == "overloaded"


def test_a_fault_of_ours_is_500_without_its_text(service: SegmentationService) -> None:
    class Broken(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            raise RuntimeError("secret path /srv/model")

    service.model = replace(service.model, net=Broken())
    failed, bad = respond(service, [photo_bytes(64, 96), b"no image"])
    assert failed.status == 500
    assert b"secret" not in failed.body
    assert error_code(failed) == "internal_error"
    assert bad.status == 415  # a neighbour's fault stays its own
    assert error_code(bad) == "unsupported_format"


def test_a_lost_gpu_is_looked_for_after_the_forward_and_after_the_masks(
    service: SegmentationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next batch would fail, too, of an error in this one's masks."""
    stages: list[str] = []
    forward, mask = service.forward, service.mask

    def noted_forward(exchanges: Sequence[Exchange], stats: BatchStats, deadline: float) -> None:
        forward(exchanges, stats, deadline)
        stages.append("forward")

    def noted_mask(image: ImageExchange) -> None:
        mask(image)
        stages.append("mask")

    monkeypatch.setattr(service, "forward", noted_forward)
    monkeypatch.setattr(service, "mask", noted_mask)
    monkeypatch.setattr(
        "serving.runtime.service.exit_if_lost", lambda _: stages.append("exit if lost")
    )
    respond(service, [photo_bytes(64, 96)])
    assert stages == ["exit if lost", "forward", "mask", "exit if lost"]


def test_responses_say_which_model_made_them(service: SegmentationService) -> None:
    responses = respond(service, [photo_bytes(64, 96), b"no image"])
    for response in responses:
        assert response.headers["Model-Name"] == service.model.preset.name
        assert response.headers["Model-Version"] == "1.0"
        assert response.headers["Model-Digest"] == service.model.digest
        assert "decode;dur=" in response.headers["Server-Timing"]
    stages = [entry.split(";")[0] for entry in responses[0].headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "forward", "mask", "encode", "batch"]


def test_a_response_says_how_long_it_waited_for_others(service: SegmentationService) -> None:
    bodies = [photo_bytes(64, 96), photo_bytes(96, 64)]
    small, other = (timings(response) for response in respond(service, bodies))
    assert small["batch"] == other["batch"]
    assert small["batch"] > small["forward"] + other["forward"]


def test_what_the_engine_cannot_send_is_replaced(folder: Path) -> None:
    def nothing_fits(responses: Sequence[Response]) -> list[Response]:
        return [response_too_large(len(response.body), 0) for response in responses]

    service = load_service(folder, "1.0", CPU, response_limit=nothing_fits)
    result = service.respond([HttpRequest("id", {}, {"body": photo_bytes(64, 96)})])
    assert [response.status for response in result.responses] == [413]
    counted = [s.labels for s in result.samples if s.name == "segmenter_images_total"]
    assert counted == [("mask", "413")]
    service.close()


def test_the_viewer_is_not_counted_as_an_image(service: SegmentationService) -> None:
    result = service.respond([HttpRequest("id", {"accept": "text/html"}, {"body": b""})])
    assert result.responses[0].content_type.startswith("text/html")
    assert result.samples == []


def test_the_model_card_is_a_response_of_its_own(service: SegmentationService) -> None:
    result = service.respond([HttpRequest("id", {"x-segmenter-output": "model"}, {"body": b""})])
    card = json.loads(result.responses[0].body)
    assert (card["name"], card["version"]) == (service.info.name, "1.0")
    assert card["input"]["max_pixels"] == service.limits.max_pixels
    assert not result.samples


def test_damaged_weights_do_not_go_into_service(tmp_path: Path) -> None:
    folder = unpacked_archive(tmp_path)
    weights = bytearray((folder / "weights.pth").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "weights.pth").write_bytes(weights)
    with pytest.raises(Exception, match=r"weights\.pth is damaged"):
        load_service(folder, "1.0", CPU)


def respond(
    service: SegmentationService,
    bodies: Sequence[bytes],
    headers: Sequence[dict[str, str]] | None = None,
) -> list[Response]:
    if headers is None:
        headers = [{"content-length": str(len(body))} for body in bodies]
    requests = [
        HttpRequest(f"id-{index}", headers[index], {"body": body})
        for index, body in enumerate(bodies)
    ]
    return service.respond(requests).responses


def timings(response: Response) -> dict[str, float]:
    """Milliseconds by stage."""
    entries = (entry.split(";dur=") for entry in response.headers["Server-Timing"].split(", "))
    return {stage: float(milliseconds) for stage, milliseconds in entries}


def mask_alone(service: SegmentationService, body: bytes) -> np.ndarray:
    (response,) = respond(service, [body])
    return mask_in(response)


def mask_in(response: Response) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(response.body)))


def count_calls(service: SegmentationService, capacity: int = 1000) -> CountingNet:
    counting = CountingNet(service.model.net, capacity)
    service.model = replace(service.model, net=counting)
    return counting


def error_code(response: Response) -> str:
    return str(json.loads(response.body)["error"]["code"])


def photo_bytes(height: int, width: int, seed: int = 0) -> bytes:
    return encoded(photo(height, width, seed), "PNG")


@pytest.mark.parametrize(
    ("name", "key"), [("metadata", "outputs"), ("ready", "ready"), ("model", "classes")]
)
def test_documents(service: SegmentationService, name: str, key: str) -> None:
    request = HttpRequest("id", {"x-segmenter-output": name}, {"body": b""})
    result = service.respond([request])
    assert key in json.loads(result.responses[0].body)
    assert not result.samples


def test_pixels_give_the_mask_of_their_png(service: SegmentationService) -> None:
    pixels = photo(75, 113)
    (of_png,) = respond(service, [encoded(pixels, "PNG")])
    tensor = {
        "name": "image",
        "shape": [1, 75, 113, 3],
        "datatype": "UINT8",
        "data": np.asarray(pixels).ravel().tolist(),
    }
    document = {"inputs": [tensor], "output": "mask"}
    request = HttpRequest("id", JSON, {"body": json.dumps(document).encode()})
    (of_pixels,) = service.respond([request]).responses
    assert of_pixels.body == of_png.body


@pytest.mark.parametrize(
    ("headers", "document", "is_text"),
    [
        ({}, {"inputs": [{"datatype": "FP32"}]}, True),
        ({}, {"inputs": [{"shape": [1], "datatype": "BYTES", "data": ["/9j/"]}]}, True),
        ({}, {"instances": [{"b64": "?"}]}, True),
        ({"x-segmenter-protocol": "open-inference"}, "not an object", True),
        ({"x-segmenter-protocol": "kserve", "content-encoding": "br"}, {}, True),
        ({"inference-header-content-length": "x"}, {}, True),
        ({"x-segmenter-protocol": "something"}, {}, False),
        ({}, {"inputs": "?"}, False),
        ({}, {"image": "?"}, False),
    ],
)
def test_an_error_has_the_form_of_the_requests_protocol(
    service: SegmentationService, headers: dict[str, str], document: object, is_text: bool
) -> None:
    request = HttpRequest("id", {**JSON, **headers}, {"body": json.dumps(document).encode()})
    (response,) = service.respond([request]).responses
    assert response.status in (400, 415)
    assert isinstance(json.loads(response.body)["error"], str) == is_text
    assert response.headers["Model-Version"] == "1.0"
