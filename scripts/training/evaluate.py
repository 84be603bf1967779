"""Measure a preset on a folder of photos and masks: mean IoU, IoU per class, pixel accuracy.

    python -m scripts.evaluate --preset street-resnet18 --data FOLDER
    python -m scripts.evaluate --preset street-resnet18 --data FOLDER --url http://HOST/predictions/NAME

The first runs the service's own pipeline in this process, the second asks a running service, behind
a gateway with --token and --cacert; the figures are the same. Intersections and unions are summed
over all frames; void does not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchmetrics.classification import MulticlassConfusionMatrix
from tqdm import tqdm

from imaging.decode.decoder import Limits, decode_image
from imaging.resize import fit_size, resize
from model import optimize_for_inference
from model.preset import Preset, PresetError, build_network, load_preset
from scripts.archive.checkpoint import CheckpointError, load_checkpoint, published_weights
from scripts.common.terminal import UserError, exit_status
from scripts.training.dataset import VOID, Frame, find_frames, read_target
from segmenter_client import Service
from segmenter_client.cli import add_access, connect, count
from serving.runtime.pipeline import forward, read_photo, segment

Predict = Callable[[bytes], npt.NDArray[np.integer]]  # an image file -> (H, W) class ids


class EvaluationError(UserError):
    """A frame has no usable mask. There are no figures then: they would leave the frame out."""


@dataclass(frozen=True)
class Scores:
    """Shares, 0..1. A class that is neither in the targets nor in the masks has no IoU."""

    mean_iou: float
    pixel_accuracy: float
    iou: dict[str, float | None]  # by label
    num_frames: int


def score(
    predict: Predict,
    frames: Sequence[Frame],
    preset: Preset,
    *,
    short_side: int | None = None,
    concurrency: int = 1,
) -> Scores:
    """Segment every frame, `concurrency` of them at a time, and compare with the targets.

    With `short_side`, px, photos and targets are scaled to it first, as in torchvision's
    references; without, masks are compared at the photos' own size. Raises EvaluationError for the
    first frame that fails, and DataError for one that is no frame.
    """
    matrix = MulticlassConfusionMatrix(preset.num_classes, ignore_index=VOID)
    compare = partial(compare_frame, predict, preset=preset, short_side=short_side)
    pool = ThreadPoolExecutor(concurrency)
    try:
        # Not the pool for one at a time: its threads would set up torch's own threads anew.
        pairs = pool.map(compare, frames) if concurrency > 1 else map(compare, frames)
        for mask, target in tqdm(pairs, "evaluating", len(frames), leave=False, unit="frame"):
            matrix.update(mask, target)
    finally:
        pool.shutdown(cancel_futures=True)
    return scores_of(matrix.compute(), preset.labels, len(frames))


def compare_frame(
    predict: Predict, frame: Frame, *, preset: Preset, short_side: int | None
) -> tuple[Tensor, Tensor]:
    """A frame's mask and target, each int64 (H, W)."""
    data, target = frame.image.read_bytes(), read_target(frame, preset.num_classes)
    if short_side is not None:
        data, target = scale(data, target, short_side)
    try:
        mask = torch.from_numpy(predict(data).astype(np.int64))
    except Exception as error:  # whatever it is, it must not pass for a frame that was measured
        raise EvaluationError(f"{frame.image}: {error}") from error
    if mask.shape != target.shape:
        raise EvaluationError(
            f"{frame.image}: its mask is {tuple(mask.shape)}, its target {tuple(target.shape)}"
        )
    if mask.max() >= preset.num_classes:
        raise EvaluationError(
            f"{frame.image}: its mask holds class {mask.max()}, beyond the {preset.num_classes} "
            f"of {preset.name}; is another model being served?"
        )
    return mask, target.long()


def scale(data: bytes, target: Tensor, short_side: int) -> tuple[bytes, Tensor]:
    """An image file and its target (H, W) at another size: bilinear, and nearest."""
    image = decode_image(data)
    size = fit_size(*image.size, short_side)
    scaled = io.BytesIO()
    pixels = resize(image, size).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(scaled, "PNG", compress_level=1)
    return scaled.getvalue(), interpolate(target[None, None], size, mode="nearest")[0, 0]


def scores_of(confusion: Tensor, labels: Sequence[str], num_frames: int) -> Scores:
    """Scores from pixel counts (C, C): rows are targets, columns masks."""
    counts = confusion.double()
    hits = counts.diag()
    iou = hits / (counts.sum(0) + counts.sum(1) - hits)  # nan for a class that occurs nowhere
    return Scores(
        mean_iou=iou.nanmean().item(),
        pixel_accuracy=(hits.sum() / counts.sum()).item(),
        iou={
            label: None if value.isnan() else value.item()
            for label, value in zip(labels, iou, strict=True)
        },
        num_frames=num_frames,
    )


def in_process(net: nn.Module, preset: Preset) -> Predict:
    """Segment with a network from `optimize_for_inference`, as a worker of the service does."""

    def predict(data: bytes) -> npt.NDArray[np.integer]:
        photo = read_photo(data, preset, Limits(), keep_original=False)
        # The network moves what it is given to its own device.
        (logits,) = forward(net, [photo.pixels], preset, torch.device("cpu"))
        if isinstance(logits, Exception):
            raise logits
        return segment(photo, logits, with_confidence=False).mask

    return predict


def over_http(service: Service) -> Predict:
    """Segment by a running service."""

    def predict(data: bytes) -> npt.NDArray[np.integer]:
        answer = service.ask(data, "mask")
        try:
            return np.array(Image.open(io.BytesIO(answer)))
        except UnidentifiedImageError:
            raise EvaluationError(f"the answer is no PNG: {answer[:80]!r}") from None

    return predict


def load_network(preset: Preset, weights: Path | None, precision: str) -> nn.Module:
    """The preset's network with its own weights or others, ready to serve."""
    if weights is None:
        if preset.weights is None:
            raise CheckpointError(f"preset {preset.name} names no weights; give --weights")
        weights = published_weights(preset.weights)
    net = build_network(preset)
    load_checkpoint(net, weights)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return optimize_for_inference(net, device, precision)


def table(scores: Scores) -> str:
    """The scores for a terminal, in percent."""
    width = max(map(len, (*scores.iou, "pixel accuracy")))
    rows = [
        f"{label:<{width}}  {'absent' if iou is None else f'{100 * iou:6.2f}'}"
        for label, iou in scores.iou.items()
    ]
    line = "-" * (width + 8)
    return "\n".join(
        [
            f"{'IoU, %':<{width}}  {scores.num_frames} frames",
            line,
            *rows,
            line,
            f"{'mean IoU':<{width}}  {100 * scores.mean_iou:6.2f}",
            f"{'pixel accuracy':<{width}}  {100 * scores.pixel_accuracy:6.2f}",
        ]
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--preset", required=True, help="a preset's name or file")
    parser.add_argument("--data", type=Path, required=True, help="folder of images/ and masks/")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", type=Path, help="a checkpoint instead of the preset's own")
    source.add_argument("--url", help="a running service, as http://HOST:PORT/predictions/NAME")
    add_access(parser)
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16"), help="without --url"
    )
    parser.add_argument(
        "--short-side", type=int, metavar="PX", help="scale photos and masks to it beforehand"
    )
    parser.add_argument(
        "--concurrency",
        type=partial(count, least=1),
        default=8,
        metavar="N",
        help="requests at a time (default: 8)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    preset = load_preset(options.preset)
    frames = find_frames(options.data)
    if options.url:
        predict = over_http(connect(options))
    else:
        predict = in_process(load_network(preset, options.weights, options.precision), preset)
    scores = score(
        predict,
        frames,
        preset,
        short_side=options.short_side,
        concurrency=options.concurrency if options.url else 1,
    )
    print(json.dumps(dataclasses.asdict(scores), indent=2) if options.json else table(scores))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return exit_status(lambda: run(options), PresetError, CheckpointError)


if __name__ == "__main__":
    sys.exit(main())
