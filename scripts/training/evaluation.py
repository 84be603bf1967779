"""Compares masks with targets: those of the service's own pipeline, or of a running service."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from imaging import Limits, decode_image, fit_size, resize
from imaging.decode.budget import PixelBudget
from model.optimize.inference import optimize_for_pixels
from model.preset import Preset
from scripts.archive.calibration import calibration_of
from scripts.archive.checkpoint import CheckpointError, trained_network
from scripts.archive.published import published_weights
from scripts.common.terminal import UserError
from scripts.training.dataset import Frame, read_target
from scripts.training.metrics import confusion_matrix
from segmenter_client import Service
from serving.runtime.stages import forward, read_photo, segment

Predict = Callable[[bytes], npt.NDArray[np.integer]]  # an image file -> (H, W) class ids


class EvaluationError(UserError):
    """A frame has no usable mask. There are no figures then, as they would leave the frame out."""


def confusions(
    predict: Predict,
    frames: Sequence[Frame],
    preset: Preset,
    *,
    short_side: int | None = None,
    concurrency: int = 1,
) -> Tensor:
    """Segment all frames, `concurrency` at a time; pixels by target (rows) and mask: (F, C, C).

    With `short_side`, px, photos and targets are scaled to it first, as in torchvision's
    references; without, masks are compared at the photos' own size. Raises EvaluationError for the
    first frame that fails, and DataError for a bad file.
    """
    compare = partial(compare_frame, predict, preset=preset, short_side=short_side)
    pool = ThreadPoolExecutor(concurrency)
    try:
        # No pool for one at a time: torch would start its own threads anew in each pool thread.
        pairs = pool.map(compare, frames) if concurrency > 1 else map(compare, frames)
        return torch.stack(
            [
                confusion_matrix(mask, target, preset.num_classes)
                for mask, target in tqdm(
                    pairs, "evaluating", len(frames), leave=False, unit="frame", disable=None
                )
            ]
        )
    finally:
        pool.shutdown(cancel_futures=True)


def compare_frame(
    predict: Predict, frame: Frame, *, preset: Preset, short_side: int | None
) -> tuple[Tensor, Tensor]:
    """A frame's mask and target, each int64 (H, W)."""
    data, target = frame.image.read_bytes(), read_target(frame, preset.num_classes)
    if short_side is not None:
        data, target = scale(data, target, short_side)
    try:
        mask = torch.from_numpy(predict(data).astype(np.int64))
    except Exception as error:  # of any kind: the frame must not be skipped silently
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
    """Scale an image file (bilinear) and its target (H, W) (nearest) to a short side, px."""
    image = decode_image(data)
    size = fit_size(*image.size, short_side)
    scaled = io.BytesIO()
    pixels = resize(image, size).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(scaled, "PNG", compress_level=1)
    return scaled.getvalue(), interpolate(target[None, None], size, mode="nearest")[0, 0]


def in_process(net: nn.Module, preset: Preset) -> Predict:
    """Segment with a network from `optimize_for_pixels`, as a worker of the service does."""
    limits = Limits()
    budget = PixelBudget(limits.max_pixels)

    def predict(data: bytes) -> npt.NDArray[np.integer]:
        photo = read_photo(data, preset.short_side, limits, budget, keep_original=False)
        # The network moves its input to its own device.
        (logits,) = forward(net, [photo.pixels], torch.device("cpu"))
        if isinstance(logits, Exception):
            raise logits
        return segment(photo, logits, with_confidence=False).mask

    return predict


def over_http(service: Service) -> Predict:
    """Segment with a running service."""

    def predict(data: bytes) -> npt.NDArray[np.integer]:
        body = service.predict(data, "mask")
        try:
            return np.array(Image.open(io.BytesIO(body)))
        except UnidentifiedImageError:
            raise EvaluationError(f"the response is not a PNG: {body[:80]!r}") from None

    return predict


def load_network(preset: Preset, weights: Path | None, precision: str) -> nn.Module:
    """The preset's network with its own weights or others, ready to serve pixels.

    In int8 it needs the calibration beside the weights. Raises CheckpointError, CalibrationError.
    """
    verified = weights is None
    if weights is None:
        if preset.weights is None:
            raise CheckpointError(f"preset {preset.name} names no weights; give --weights")
        weights = published_weights(preset.weights)
    _, net = trained_network(preset, weights, verified=verified)
    stored = calibration_of(weights, preset)
    if precision == "int8" and stored is None:
        raise CheckpointError(f"{weights} has no calibration; make quantize makes one")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ranges = None if stored is None else stored.ranges
    return optimize_for_pixels(net, preset.mean, preset.std, device, precision, ranges)
