"""A picture whose logits are known: a model goes into service if it reproduces them.

When an archive is built, the plain network computes them in fp64; when a worker starts, the served
network does, with all its optimisations, on its own machine. The weights' digest says that they
are the same numbers; this says that they are still the same model.
"""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imaging import Limits
from imaging.decode.budget import PixelBudget
from model.normalization import normalize
from model.preset import Preset
from serving.runtime.loading import ArchiveError, ServedModel
from serving.runtime.stages import forward, read_photo

# What `draw_street` in scripts/common/street.py draws. It is kept as a file, so that an archive's
# bytes do not depend on the version of what draws and packs it.
IMAGE = Path(__file__).with_name("golden.png")

# The logits, in the archive's root: fp16 and a power of two that scales them to at most 1, so that
# no network's are out of range. fp64 rounded to fp16 is the same on all machines.
LOGITS_FILE = "golden.npz"

# How far the logits may be off, by `deviation`. bf16 is off by 0.003 (street-resnet18 as trained,
# AVX512-BF16), 0.009, 0.016 and 0.008 (ResNet-18, 50 and 101 with random weights), fp32 by 0.0003,
# most of it fp16's rounding. A picture moved by one pixel is off by 0.06, one halved atrous rate by
# 0.2, red and blue exchanged by 0.3, one missing convolution by 0.5, another training's weights by
# about 1. Masks would tell less: where all classes are nearly level, as with random weights, 2 %
# of the pixels change in bf16 already.
LARGEST_DEVIATION = 0.05

# The same in int8, which is off by 0.050 (street-resnet18 as trained) and 0.056 (ResNet-50 with
# random weights): in a drawing some numbers are beyond those of photos.
# Of the faults above, only a picture moved by one pixel is not found any more.
LARGEST_INT8_DEVIATION = 0.15


class NotReproduced(ArchiveError):
    """The served network's logits are further off than its precision explains."""


def record_golden(net: nn.Module, preset: Preset, folder: Path) -> None:
    """Write the logits of `net`, the plain network with its weights, to `folder`/golden.npz.

    The same weights give the same bytes. Raises ArchiveError where the logits are not finite.
    """
    logits = exact_logits(net, preset).numpy()
    scale = np.exp2(np.ceil(np.log2(max(np.abs(logits).max(), np.finfo(np.float32).tiny))))
    np.savez(folder / LOGITS_FILE, logits=(logits / scale).astype(np.float16), scale=scale)


def exact_logits(net: nn.Module, preset: Preset) -> Tensor:
    """The golden image's logits by the plain network, fp64 (1, num_classes, h, w).

    Raises ArchiveError where they are not finite.
    """
    exact = copy.deepcopy(net).eval().double()
    pixels = normalize(golden_pixels(preset), preset.mean, preset.std)
    with torch.inference_mode():
        logits: Tensor = exact(pixels.double())
    if not logits.isfinite().all():
        raise ArchiveError("the network's logits are NaN or infinite; its weights diverged")
    return logits


def check_golden(model: ServedModel, folder: Path) -> float:
    """The deviation of the served network's logits from those in `folder`/golden.npz.

    It is a worker's first forward, and so its warm-up; on a GPU its second too, which replays a
    CUDA graph and is the one that is compared. Raises NotReproduced where the deviation is
    above what its precision explains, ArchiveError where there is no record or one of another
    shape, and what the forward raises where there are no logits.
    """
    expected = read_logits(folder / LOGITS_FILE)
    logits = served_logits(model.net, model.preset, model.device)
    if logits.shape != expected.shape:
        found, built = tuple(logits.shape), tuple(expected.shape)
        raise ArchiveError(
            f"the golden image's logits have shape {found}, and {built} when the archive was "
            "built; build the archive again"
        )
    off = deviation(logits, expected)
    is_int8 = model.precision == "int8"
    largest = LARGEST_INT8_DEVIATION if is_int8 else LARGEST_DEVIATION
    if not off <= largest:  # NaN is not
        advice = (
            "Calibrate again with more photos, or others (make quantize)"
            if is_int8
            else "Build the archive again; if that does not help, check the versions of PyTorch "
            "and the device"
        )
        raise NotReproduced(
            "the model does not reproduce the golden image: its logits are off by "
            f"{off:.1%}, of which {model.precision} explains {largest:.0%} at most. {advice}"
        )
    return off


def served_logits(net: nn.Module, preset: Preset, device: torch.device) -> Tensor:
    """The golden image's logits by a network that reads pixels: (1, num_classes, h, w), on the CPU.

    Raises what the forward raises.
    """
    images = list(golden_pixels(preset))
    with torch.inference_mode():
        for _ in range(1 if device.type == "cpu" else 2):
            (logits,) = forward(net, images, device)
    if isinstance(logits, Exception):
        raise logits
    return logits.cpu()


def golden_pixels(preset: Preset) -> Tensor:
    """The picture as the network reads every photo: uint8 (1, 3, h, w), at the preset's size."""
    limits = Limits()
    budget = PixelBudget(limits.max_pixels)
    photo = read_photo(IMAGE.read_bytes(), preset.short_side, limits, budget, keep_original=False)
    return photo.pixels[None]


def read_logits(path: Path) -> Tensor:
    """fp64 (1, num_classes, h, w)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return torch.from_numpy(file["logits"].astype(np.float64) * float(file["scale"]))
    except FileNotFoundError:
        state = "is missing from the archive"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        state = "is damaged"
    raise ArchiveError(f"{path.name} {state}; build the archive again")


def deviation(logits: Tensor, expected: Tensor) -> float:
    """How far (B, num_classes, h, w) logits are off: 0 for the same, about 1 for unrelated ones.

    The root mean square of the differences, in units of that of `expected`, both without each
    cell's mean over the classes: masks and probabilities depend on differences of classes alone.
    """
    found, right = without_mean(logits), without_mean(expected)
    size = right.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    return float((found - right).square().mean().sqrt() / size)


def without_mean(logits: Tensor) -> Tensor:
    values = logits.double()
    return values - values.mean(1, keepdim=True)
