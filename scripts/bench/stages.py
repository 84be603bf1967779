"""What surrounds the network: decoding a photo, computing its mask, encoding the response."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from imaging import decode_image, fit_size, resize
from imaging.export.png import mask_png
from imaging.export.summary import class_summaries
from imaging.mask.class_mask import class_mask, class_mask_and_confidence, class_mask_plain
from model.preset import voc_palette
from scripts.bench.inputs import PHOTO_SIZES, drawn_jpeg, trained_like_logits
from scripts.bench.timing import Timing, Workload, time_interleaved

NUM_CLASSES = 21  # Pascal VOC's
LOGITS_SIZE = (65, 87)  # (h, w) of a 4:3 photo that is read at 520 px


def mask_timings(rounds: int) -> Iterator[Timing]:
    """From logits to class ids, for photos of three sizes."""
    logits = trained_like_logits(NUM_CLASSES, *LOGITS_SIZE)
    for name, size in PHOTO_SIZES.items():
        tasks: dict[str, Workload] = {
            "interpolate, argmax": partial(class_mask_plain, logits, size),
            "ours": partial(class_mask, logits, size),
            "ours, with confidence": partial(class_mask_and_confidence, logits, size),
        }
        yield from time_interleaved(f"mask, {NUM_CLASSES} classes, {name}", tasks, rounds)


def decode_timings(rounds: int) -> Iterator[Timing]:
    """From a 12-megapixel JPEG to the pixels that the network reads, at 520 px."""
    height, width = PHOTO_SIZES["12 MP"]
    data = drawn_jpeg((height, width))
    size = fit_size(width, height, 520)

    def recipe() -> Tensor:
        image = tv.pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))
        pixels = tv.to_dtype(image, torch.float32, scale=True)
        resized: Tensor = tv.resize(pixels, list(size), antialias=True)
        return resized

    tasks: dict[str, Workload] = {
        "torchvision's recipe": recipe,
        "ours": lambda: resize(decode_image(data), size),
    }
    yield from time_interleaved("decode and resize, 12 MP JPEG", tasks, rounds)


def encode_timings(rounds: int) -> Iterator[Timing]:
    """From a 12-megapixel mask to a response body."""
    logits, palette = trained_like_logits(NUM_CLASSES, *LOGITS_SIZE), voc_palette(NUM_CLASSES)
    mask, confidence = (
        image[0].numpy() for image in class_mask_and_confidence(logits, PHOTO_SIZES["12 MP"])
    )
    labels = [str(number) for number in range(NUM_CLASSES)]
    tasks: dict[str, Workload] = {
        "nested lists in JSON": lambda: json.dumps(mask.tolist()),
        "PNG, Pillow's defaults": lambda: Image.fromarray(mask).save(io.BytesIO(), "PNG"),
        "ours, PNG": lambda: mask_png(mask, palette),
        "ours, figures and COCO RLE of each class": lambda: json.dumps(
            class_summaries(mask, confidence, labels, palette)
        ),
    }
    yield from time_interleaved("encode, 12 MP mask", tasks, rounds)
