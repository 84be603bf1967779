from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from imaging import decode_image, mask_png
from model.preset import Preset, load_preset
from scripts import evaluate
from scripts.common.street import draw_street
from scripts.training.dataset import Frame, find_frames
from scripts.training.evaluation import (
    EvaluationError,
    Predict,
    compare_frame,
    confusions,
    in_process,
    load_network,
    over_http,
)
from scripts.training.metrics import Scores, scores_of
from scripts.training.network import build
from scripts.training.report import table
from segmenter_client import Service
from tests.photos import encoded
from tests.scripts.training.labelled import COLOURS, LABELS, write_preset, write_split


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return load_preset(write_preset(tmp_path / "drawn.yaml"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_split(tmp_path / "val", 5)


@pytest.fixture
def weights(tmp_path: Path, preset: Preset) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(build(preset, coarse=False).state_dict(), path)
    return path


def score(predict: Predict, frames: Sequence[Frame], preset: Preset) -> Scores:
    return scores_of(confusions(predict, frames, preset), preset.labels)


def nearest_colour(data: bytes) -> np.ndarray:
    """The mask of a drawn frame, from its colours."""
    pixels = np.array(decode_image(data)).astype(int)
    return np.abs(pixels[..., None, :] - COLOURS).sum(-1).argmin(-1).astype(np.uint8)


@contextmanager
def service(
    respond: Callable[[bytes], tuple[int, bytes]], token: str | None = None
) -> Iterator[str]:
    """The URL of an HTTP server whose responses have the status and body `respond(request body)`.

    Requests without the token get 401.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if token is None or self.headers["Authorization"] == f"Bearer {token}":
                status, content = respond(body)
            else:
                status, content = 401, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/predictions/drawn"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_perfect_segmenter_scores_one(preset: Preset, data: Path) -> None:
    scores = score(nearest_colour, find_frames(data), preset)
    assert scores.mean_iou == scores.pixel_accuracy == 1
    assert scores.iou == dict.fromkeys(LABELS, 1.0)
    assert scores.num_frames == 5


def test_scores_by_hand(preset: Preset, tmp_path: Path) -> None:
    frames = find_frames(write_by_hand(tmp_path / "by-hand", [[0, 0, 0, 1], [1, 1, 3, 255]]))
    mask = np.array([[0, 0, 1, 1], [1, 0, 2, 2]], np.uint8)
    scores = score(lambda data: mask, frames, preset)
    # Sky and ground: 2 of 3 pixels, and 1 that is wrong. Boxes only on void.
    assert scores.iou == {"sky": 0.5, "ground": 0.5, "box": None}
    assert scores.mean_iou == 0.5
    assert scores.pixel_accuracy == pytest.approx(4 / 6)


def write_by_hand(folder: Path, mask: list[list[int]]) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.array(mask, np.uint8)).save(folder / name / "a.png")
    return folder


def test_a_short_side_scales_photo_and_target_as_the_references_do(
    preset: Preset, data: Path
) -> None:
    (frame, *_) = find_frames(data)
    seen = []

    def predict(data: bytes) -> np.ndarray:
        seen.append(decode_image(data))
        return nearest_colour(data)

    mask, target = compare_frame(predict, frame, preset=preset, short_side=100)
    scale = v2.Resize(100, antialias=True)
    pixels = scale(torch.from_numpy(np.array(Image.open(frame.image))).permute(2, 0, 1))
    assert np.array_equal(np.array(seen[0]), pixels.permute(1, 2, 0))
    nearest = v2.Resize(100, v2.InterpolationMode.NEAREST)
    expected = nearest(torch.from_numpy(np.array(Image.open(frame.mask)))[None])[0].long()
    expected[expected == len(LABELS)] = 255
    assert torch.equal(target, expected)
    assert mask.shape == target.shape == (100, 150)


def test_a_service_scores_as_the_process_does(
    preset: Preset, data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--preset", str(tmp_path / "drawn.yaml"), "--data", str(data), "--json"]
    assert evaluate.main([*shared, "--weights", str(weights)]) == 0
    here = capsys.readouterr().out
    predict = in_process(load_network(preset, weights, "auto"), preset)
    lock = threading.Lock()  # the server has threads; a worker of the service has one

    def respond(data: bytes) -> tuple[int, bytes]:
        with lock:
            return 200, mask_png(predict(data), preset.palette)

    with service(respond) as url:
        assert evaluate.main([*shared, "--url", url, "--concurrency", "3"]) == 0
    assert capsys.readouterr().out == here
    assert set(json.loads(here)) == {"mean_iou", "pixel_accuracy", "iou", "num_frames"}


def test_the_token_is_sent(
    preset: Preset, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def respond(data: bytes) -> tuple[int, bytes]:
        return 200, mask_png(nearest_colour(data), preset.palette)

    with service(respond, token="secret") as url:
        options = ["--preset", str(tmp_path / "drawn.yaml"), "--data", str(data), "--url", url]
        assert evaluate.main([*options, "--token", "other"]) == 1
        assert "http_401" in capsys.readouterr().err
        assert evaluate.main([*options, "--token", "secret"]) == 0


def test_a_request_is_retried_while_the_service_is_busy(
    preset: Preset, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmenter_client.retries.FIRST_PAUSE", 0.01)
    statuses = [503, 503]

    def respond(data: bytes) -> tuple[int, bytes]:
        if statuses:
            return statuses.pop(), b"{}"
        return 200, mask_png(nearest_colour(data), preset.palette)

    with service(respond) as url:
        scores = score(over_http(Service(url)), find_frames(data), preset)
    assert scores.mean_iou == 1


def test_a_failed_request_is_reported_with_its_frame_and_the_service_s_message(
    preset: Preset, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = (data / "images" / "2.png").read_bytes()

    def respond(data: bytes) -> tuple[int, bytes]:
        if data == bad:
            return 500, b'{"error": {"code": "internal_error", "message": "out of memory"}}'
        return 200, mask_png(nearest_colour(data), preset.palette)

    with service(respond) as url:
        options = ["--preset", str(tmp_path / "drawn.yaml"), "--data", str(data), "--url", url]
        assert evaluate.main(options) == 1
    captured = capsys.readouterr()
    assert "images/2.png: internal_error: out of memory" in captured.err
    assert captured.out == ""


def test_an_unreachable_service_is_reported(preset: Preset, data: Path) -> None:
    with service(lambda data: (200, b"")) as url:
        pass  # it ends here
    with pytest.raises(EvaluationError, match=r"images/0\.png: .*refused"):
        score(over_http(Service(url, retries=1)), find_frames(data), preset)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<html>", "the response is not a PNG"),
        (np.full((64, 96), 20, np.uint8), "holds class 20, beyond the 3 of drawn"),
        (np.zeros((64, 95), np.uint8), r"its mask is \(64, 95\), its target \(64, 96\)"),
    ],
)
def test_an_impossible_mask_is_reported(
    preset: Preset, data: Path, content: bytes | np.ndarray, expected: str
) -> None:
    if isinstance(content, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(content).save(buffer, "PNG")
        content = buffer.getvalue()
    with (
        service(lambda data: (200, content)) as url,
        pytest.raises(EvaluationError, match=expected),
    ):
        score(over_http(Service(url, retries=1)), find_frames(data), preset)


def test_the_table_shows_every_class_in_percent(preset: Preset, data: Path) -> None:
    lines = table({"all": score(nearest_colour, find_frames(data)[:1], preset)}).splitlines()
    assert [line.split() for line in lines if "100.00" in line] == [
        *([label, "100.00"] for label in LABELS),
        ["mean", "IoU", "100.00"],
        ["pixel", "accuracy", "100.00"],
    ]


def test_by_sequence_adds_the_scores_of_each_sequence(
    preset: Preset,
    data: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_split(data, 2, seed=200, sequence="night")
    write_split(data, 1, seed=300, sequence="night_rain")
    options = ["--preset", str(tmp_path / "drawn.yaml"), "--data", str(data)]
    options += ["--weights", str(weights), "--precision", "fp32"]
    assert evaluate.main([*options, "--by-sequence", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["num_frames"] == 8
    low, high = document["interval"]
    assert low <= document["mean_iou"] <= high
    sequences = document["sequences"]
    assert {name: scores["num_frames"] for name, scores in sequences.items()} == {
        **dict.fromkeys("01234", 1),
        "night": 2,
        "night_rain": 1,
    }
    frames = [frame for frame in find_frames(data) if frame.sequence == "night"]
    predict = in_process(load_network(preset, weights, "fp32"), preset)
    assert sequences["night"]["mean_iou"] == score(predict, frames, preset).mean_iou


def test_a_preset_without_weights_is_refused(
    preset: Preset, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--preset", str(tmp_path / "drawn.yaml"), "--data", str(data)]) == 1
    assert "drawn names no weights" in capsys.readouterr().err


@pytest.mark.slow
def test_masks_in_bf16_are_those_in_fp32() -> None:
    """With trained weights; on CamVid's validation frames 99.93 % of the pixels agree."""
    preset = load_preset("street-resnet18")
    street = encoded(draw_street(), "PNG")
    exact, fast = (
        in_process(load_network(preset, None, precision), preset)(street)
        for precision in ("fp32", "bf16")
    )
    assert len(np.unique(exact)) > 5  # not one class everywhere, which would agree in any case
    assert (exact == fast).mean() >= 0.995
