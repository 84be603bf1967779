"""The handler in-process: batches, groups, and failures that stay where they happen."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from ts.context import Context, RequestProcessor

from handler import SegmentationHandler
from imaging import decode_image
from imaging.mask.class_mask import class_mask_plain
from imaging.resize import fit_size, resize
from serving.runtime.pipeline import normalize
from tests.archives import unpacked_archive
from tests.photos import agreement, encoded, photo, png_header


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def handler(folder: Path) -> Iterator[SegmentationHandler]:
    handler = SegmentationHandler()
    handler.initialize(context_for([], folder))
    yield handler
    handler.threads.shutdown()


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


def test_a_batch_of_eight_with_three_bad_ones(handler: SegmentationHandler, folder: Path) -> None:
    good = [photo_bytes(64, 96, seed) for seed in range(5)]
    truncated = good[0][: len(good[0]) // 2]
    oversized = png_header(60_000, 60_000)
    bodies = [good[0], truncated, good[1], oversized, good[2], b"just some text\n", *good[3:]]

    answers, context = ask(handler, folder, bodies)

    statuses = [status(context, index) for index in range(8)]
    assert statuses == [200, 400, 200, 413, 200, 415, 200, 200]
    assert error_code(answers[1]) == "image_truncated"
    assert error_code(answers[3]) == "image_too_large"
    assert error_code(answers[5]) == "unsupported_format"
    for index, body in zip((0, 2, 4, 6, 7), good):
        mask = mask_in(answers[index])
        assert agreement(mask, mask_alone(handler, folder, body)) > 0.98


def test_one_forward_for_each_input_shape(handler: SegmentationHandler, folder: Path) -> None:
    counting = count_calls(handler)
    sizes = [(64, 96), (96, 64), (64, 96), (80, 80), (128, 192)]  # the last scales to the first's
    ask(handler, folder, [photo_bytes(h, w, seed=h) for h, w in sizes])
    assert sorted(shape[0] for shape in counting.shapes) == [1, 1, 3]


def test_masks_are_those_of_the_plain_recipe(handler: SegmentationHandler, folder: Path) -> None:
    """decode -> resize -> normalise -> forward -> interpolate -> argmax, written out."""
    body = photo_bytes(75, 113)
    image = decode_image(body)
    pixels = resize(image, fit_size(*image.size, handler.model.preset.short_side))
    logits = handler.model.net(normalize(pixels[None], handler.model.preset))
    expected = class_mask_plain(logits, (75, 113))[0].numpy()
    assert np.array_equal(mask_alone(handler, folder, body), expected)


def test_out_of_memory_halves_the_group(handler: SegmentationHandler, folder: Path) -> None:
    bodies = [photo_bytes(64, 96, seed) for seed in range(5)]
    expected, _ = ask(handler, folder, bodies)
    counting = count_calls(handler, capacity=2)
    answers, context = ask(handler, folder, bodies)
    for answer, whole in zip(answers, expected, strict=True):
        assert agreement(mask_in(answer), mask_in(whole)) > 0.98
    assert [shape[0] for shape in counting.shapes] == [4, 2, 2, 1]
    assert all(status(context, index) == 200 for index in range(5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_masks_of_the_cpu(handler: SegmentationHandler, folder: Path) -> None:
    """Each shape runs without a graph, is captured, and is replayed."""
    on_gpu = SegmentationHandler()
    on_gpu.initialize(context_for([], folder, gpu=0))
    bodies = [photo_bytes(64, 96, 1), photo_bytes(96, 64, 2), photo_bytes(64, 96, 3)]
    expected = [mask_alone(handler, folder, body) for body in bodies]
    for _ in range(3):
        answers, _ = ask(on_gpu, folder, bodies)
        for answer, mask in zip(answers, expected, strict=True):
            assert agreement(mask_in(answer), mask) > 0.98
    on_gpu.threads.shutdown()


def test_an_image_that_does_not_fit_alone_is_503(
    handler: SegmentationHandler, folder: Path
) -> None:
    count_calls(handler, capacity=0)
    (answer,), context = ask(handler, folder, [photo_bytes(64, 96)])
    assert status(context, 0) == 503
    assert error_code(answer) == "overloaded"


def test_a_fault_of_ours_is_500_without_its_text(
    handler: SegmentationHandler, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret path /srv/model")

    monkeypatch.setattr(handler, "model", SimpleNamespace(net=fail, preset=handler.model.preset))
    (answer, bad), context = ask(handler, folder, [photo_bytes(64, 96), b"no image"])
    assert status(context, 0) == 500
    assert b"secret" not in answer
    assert error_code(answer) == "internal_error"
    assert status(context, 1) == 415  # a neighbour's fault stays its own
    assert error_code(bad) == "unsupported_format"


def test_answers_say_what_gave_them(handler: SegmentationHandler, folder: Path) -> None:
    _, context = ask(handler, folder, [photo_bytes(64, 96), b"no image"])
    for index in range(2):
        headers = context.get_response_headers(index)
        assert headers["Model-Name"] == handler.model.preset.name
        assert headers["Model-Version"] == "1.0"
        assert headers["Model-Digest"] == handler.model.digest
        assert "decode;dur=" in headers["Server-Timing"]
    steps = context.get_response_headers(0)["Server-Timing"].split(", ")
    assert [step.split(";")[0] for step in steps] == [
        "decode",
        "forward",
        "mask",
        "encode",
        "batch",
    ]


def test_an_answer_says_how_long_it_waited_for_others(
    handler: SegmentationHandler, folder: Path
) -> None:
    _, context = ask(handler, folder, [photo_bytes(64, 96), photo_bytes(96, 64)])
    small, other = (timings(context.get_response_headers(index)) for index in range(2))
    assert small["batch"] == other["batch"]
    assert small["batch"] > small["forward"] + other["forward"]


def test_the_card_is_for_describe_alone(handler: SegmentationHandler, folder: Path) -> None:
    (card,), _ = ask(handler, folder, [], rows=[{}], headers=[{"describe": "True"}])
    assert [entry["label"] for entry in json.loads(card)["classes"]] == list(
        handler.model.preset.labels
    )
    photo = photo_bytes(64, 96)
    (mask, other), context = ask(
        handler, folder, [photo, photo], headers=[{"describe": "True"}, {}]
    )
    assert mask == other  # a client that sends the header gets a mask like everybody
    assert status(context, 0) == 200


def test_damaged_weights_do_not_go_into_service(tmp_path: Path) -> None:
    folder = unpacked_archive(tmp_path)
    weights = bytearray((folder / "weights.pth").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "weights.pth").write_bytes(weights)
    with pytest.raises(Exception, match=r"weights\.pth is damaged"):
        SegmentationHandler().initialize(context_for([], folder))


def ask(
    handler: SegmentationHandler,
    folder: Path,
    bodies: Sequence[bytes],
    rows: Sequence[dict[str, object]] | None = None,
    headers: Sequence[dict[str, str]] | None = None,
) -> tuple[list[bytes], Context]:
    if rows is None:
        rows = [{"body": bytearray(body)} for body in bodies]
    if headers is None:
        headers = [{"Content-Length": str(len(body))} for body in bodies]
    context = context_for(headers, folder)
    return handler.handle(rows, context), context


def context_for(headers: Sequence[dict[str, str]], folder: Path, gpu: int | None = None) -> Context:
    """TorchServe's own context, filled as its worker fills it."""
    context = Context(
        "segmenter",
        str(folder),
        {"model": {"modelName": "segmenter", "modelVersion": "1.0"}},
        batch_size=8,
        gpu=gpu,
        mms_version="0.12.0",
    )
    context.model_yaml_config = {}
    context.request_ids = {index: f"id-{index}" for index in range(len(headers))}
    context.request_processor = [RequestProcessor(dict(entry)) for entry in headers]
    return context


def timings(headers: dict[str, str]) -> dict[str, float]:
    """Milliseconds by stage."""
    entries = (entry.split(";dur=") for entry in headers["Server-Timing"].split(", "))
    return {stage: float(milliseconds) for stage, milliseconds in entries}


def mask_alone(handler: SegmentationHandler, folder: Path, body: bytes) -> np.ndarray:
    (answer,), _ = ask(handler, folder, [body])
    return mask_in(answer)


def mask_in(answer: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(answer)))


def count_calls(handler: SegmentationHandler, capacity: int = 1000) -> CountingNet:
    counting = CountingNet(handler.model.net, capacity)
    handler.model = type(handler.model)(counting, handler.model.preset, handler.model.digest)
    return counting


def status(context: Context, index: int) -> int:
    code, _ = context.get_response_status(index)
    return int(code)


def error_code(answer: bytes) -> str:
    return str(json.loads(answer)["error"]["code"])


def photo_bytes(height: int, width: int, seed: int = 0) -> bytes:
    return encoded(photo(height, width, seed), "PNG")
