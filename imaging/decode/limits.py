"""What one image may have, and the errors for what has more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imaging.decode.header import ImageHeader
from imaging.errors import ImageTooLarge, UnreadableImage


@dataclass(frozen=True)
class Limits:
    """What one image may have. A worker's memory and time follow from it."""

    max_bytes: int = 32 * 1024 * 1024  # about twice what phones write for 50 megapixels
    max_pixels: int = 50_000_000  # 200 MB decoded: Pillow keeps an RGB pixel in 4 bytes
    max_side: int = 20_000  # px; phone panoramas end near 16 000
    max_frames: int = 1000  # only the first is decoded, but some readers list them all
    max_seconds: float = 4.0  # of CPU; honest images of 50 megapixels take up to 1.5


DEFAULT_LIMITS: Final = Limits()

# What decoding may take for each pixel, 1.2 GB for the largest image: 16-bit RGBA in one strip.
# Eight bits a channel take 4 to 16.
BYTES_PER_PIXEL: Final = 24


def check_num_bytes(num_bytes: int, limits: Limits) -> None:
    """Raises UnreadableImage if there are none, ImageTooLarge if there are too many."""
    if num_bytes == 0:
        raise UnreadableImage("image_empty", "There is no image: 0 bytes arrived.")
    if num_bytes > limits.max_bytes:
        raise ImageTooLarge(
            "image_too_many_bytes",
            f"The image has {num_bytes} bytes; at most {limits.max_bytes} are read. Scale it down.",
            bytes=num_bytes,
            max_bytes=limits.max_bytes,
        )


def check_frames(header: ImageHeader, limits: Limits) -> None:
    """Raises ImageTooLarge."""
    if header.num_frames > limits.max_frames:
        raise ImageTooLarge(
            "image_too_many_frames",
            f"The {header.format} file has {header.num_frames} frames; at most {limits.max_frames} "
            "are accepted, and the first is segmented. Send that as an image of its own.",
            frames=header.num_frames,
            max_frames=limits.max_frames,
        )


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """(width, height) px of an image, a canvas or a tile. Raises ImageTooLarge."""
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            "image_too_large",
            f"The image is {width}x{height}, {width * height} pixels; at most {limits.max_pixels} "
            "are read. Scale it down.",
            width=width,
            height=height,
            max_pixels=limits.max_pixels,
        )
    if max(width, height) > limits.max_side:
        raise ImageTooLarge(
            "image_side_too_long",
            f"The image is {width}x{height}; a side has at most {limits.max_side} pixels. "
            "Scale it down, or cut it into pieces.",
            width=width,
            height=height,
            max_side=limits.max_side,
        )


def check_memory(size: tuple[int, int], num_bytes: int, limits: Limits) -> None:
    """What decoding an image of (width, height) px takes, in bytes. Raises ImageTooLarge."""
    width, height = size
    if num_bytes > BYTES_PER_PIXEL * limits.max_pixels:
        raise ImageTooLarge(
            "image_too_large",
            f"The image is {width}x{height}, and takes {num_bytes} bytes of memory to decode; at "
            f"most {BYTES_PER_PIXEL * limits.max_pixels} are allowed. Save it with 8 bits per "
            "channel, or scale it down.",
            width=width,
            height=height,
            max_pixels=limits.max_pixels,
        )
