"""Every colour type and depth of PNG, plain and interlaced, with what its chunks can say."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tests.imaging.decode.differential.sample import Pixels, Sample, over_white

WIDTH, HEIGHT = 13, 11
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
# Adam7: first row and column of each pass, and the steps.
PASSES = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)),
    (1, 0, 2, 1),
)

Samples = npt.NDArray[np.uint16]  # (H, W, C)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def write_png(
    samples: Samples,
    colour_type: int,
    depth: int,
    *,
    interlaced: bool = False,
    before: bytes = b"",
) -> bytes:
    """`before` is chunks in front of the pixels."""
    height, width, _ = samples.shape
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        _rows(samples[top::down, left::right], depth)
        for top, left, down, right in passes
        if top < height and left < width
    )
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def _rows(samples: Samples, depth: int) -> bytes:
    """With a filter that differs from row to row: none, sub and up alternate."""
    bytes_per_pixel = max(1, samples.shape[2] * depth // 8)
    previous = np.zeros(0, np.uint8)
    result = b""
    for index, row in enumerate(samples.reshape(len(samples), -1)):
        if depth == 16:
            packed = np.frombuffer(row.astype(">u2").tobytes(), np.uint8)
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1) & 1).astype(np.uint8)
            packed = np.packbits(bits)
        kind = index % 3
        filtered = packed.copy()
        if kind == 1:
            filtered[bytes_per_pixel:] -= packed[:-bytes_per_pixel]
        elif kind == 2:
            filtered -= previous
        result += bytes([kind]) + filtered.tobytes()
        previous = packed
    return result


def random_samples(colour_type: int, depth: int, bits: int | None = None) -> Samples:
    """Over all of `bits`, by default the depth, with both ends of the range among them."""
    rng = np.random.default_rng(100 * colour_type + depth)
    highest = (1 << (bits or depth)) - 1
    shape = (HEIGHT, WIDTH, CHANNELS[colour_type])
    samples = rng.integers(0, highest + 1, shape).astype(np.uint16)
    samples[0, 0], samples[0, 1] = 0, highest
    return samples


def palette_of(depth: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(depth).integers(0, 256, (1 << depth, 3), np.uint8)


def eight_bits(samples: Samples, depth: int) -> npt.NDArray[np.uint8]:
    """Fewer bits fill the range, of 16 the high byte counts."""
    if depth == 16:
        return (samples >> 8).astype(np.uint8)
    return np.rint(samples * (255 / ((1 << depth) - 1))).astype(np.uint8)


def right_pixels(samples: Samples, colour_type: int, depth: int) -> Pixels:
    if colour_type == PALETTE:
        return palette_of(depth)[samples[..., 0]]
    levels = eight_bits(samples, depth)
    if colour_type in (GREY, GREY_ALPHA):
        colours = np.repeat(levels[..., :1], 3, axis=2)
    else:
        colours = levels[..., :3]
    if colour_type in (GREY_ALPHA, RGBA):
        return over_white(colours, levels[..., -1] / 255)
    return colours


def png_samples() -> Iterator[Sample]:
    for colour_type, depths in DEPTHS.items():
        for depth in depths:
            samples = random_samples(colour_type, depth)
            right = right_pixels(samples, colour_type, depth)
            before = chunk(b"PLTE", palette_of(depth).tobytes()) if colour_type == PALETTE else b""
            has_alpha = colour_type in (GREY_ALPHA, RGBA)
            for interlaced in (False, True):
                name = f"png-{colour_type}-{depth}{'-interlaced' if interlaced else ''}"
                file = write_png(samples, colour_type, depth, interlaced=interlaced, before=before)
                yield Sample(name, file, right, int(has_alpha))
                if has_alpha:
                    continue
                transparency, alpha = _transparency(samples, colour_type, depth)
                file = write_png(
                    samples,
                    colour_type,
                    depth,
                    interlaced=interlaced,
                    before=before + transparency,
                )
                yield Sample(f"{name}-trns", file, over_white(right, alpha), 1)
    yield from gamma_samples()
    yield from significant_bits_samples()


def _transparency(
    samples: Samples, colour_type: int, depth: int
) -> tuple[bytes, npt.NDArray[np.floating]]:
    if colour_type == PALETTE:
        alphas = np.random.default_rng(depth).integers(0, 256, 1 << depth, np.uint8)
        return chunk(b"tRNS", alphas.tobytes()), alphas[samples[..., 0]] / 255
    key = samples[3, 4]
    alpha = 1 - (samples == key).all(axis=2).astype(float)
    return chunk(b"tRNS", key.astype(">u2").tobytes()), alpha


def srgb_encode(light: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def gamma_samples() -> Iterator[Sample]:
    """gAMA is applied unless sRGB says otherwise; 1/2.2 is as good as sRGB."""
    for colour_type, depth in (
        (GREY, 8),
        (GREY, 16),
        (RGB, 8),
        (RGB, 16),
        (RGBA, 16),
        (PALETTE, 8),
    ):
        samples = random_samples(colour_type, depth)
        if colour_type == RGBA:
            samples[..., 3] = 65535
        for gamma in (100_000, 55_000, 45_455):
            gama = chunk(b"gAMA", struct.pack(">I", gamma))
            before = chunk(b"PLTE", palette_of(8).tobytes()) if colour_type == PALETTE else b""
            right = right_pixels(samples, colour_type, depth)
            name = f"png-{colour_type}-{depth}-gama-{gamma}"
            if gamma == 45_455:
                yield Sample(
                    name, write_png(samples, colour_type, depth, before=gama + before), right
                )
                continue
            plain = write_png(
                samples, colour_type, depth, before=chunk(b"sRGB", b"\0") + gama + before
            )
            yield Sample(f"{name}-srgb", plain, right)
            stored = right / 255.0
            if depth == 16:
                stored = np.broadcast_to(samples[..., :3] / 65535.0, right.shape)
            encoded = np.rint(255 * srgb_encode(stored ** (100_000 / gamma)))
            file = write_png(samples, colour_type, depth, before=gama + before)
            yield Sample(name, file, encoded.astype(np.uint8), 1)


def significant_bits_samples() -> Iterator[Sample]:
    """Cameras' 10 to 14 bits in 16: scaled as the standard has it, or not."""
    for colour_type in (GREY, RGB, GREY_ALPHA, RGBA):
        for bits in (10, 12, 14):
            samples = random_samples(colour_type, 16, bits)
            if colour_type in (GREY_ALPHA, RGBA):
                samples[..., -1] = (1 << bits) - 1
            sbit = chunk(b"sBIT", bytes([bits] * CHANNELS[colour_type]))
            levels = (samples >> (bits - 8)).astype(np.uint8)
            colours = levels[..., :3] if colour_type in (RGB, RGBA) else levels[..., :1]
            right = np.broadcast_to(colours, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            name = f"png-{colour_type}-sbit-{bits}"
            yield Sample(name, write_png(samples, colour_type, 16, before=sbit), right)
            yield Sample(f"{name}-not-declared", write_png(samples, colour_type, 16), right)
            shift, back = np.uint16(16 - bits), np.uint16(2 * bits - 16)
            scaled = samples << shift | samples >> back
            yield Sample(f"{name}-scaled", write_png(scaled, colour_type, 16, before=sbit), right)
