"""The valid kinds of bitmaps: headers, depths, palettes, bit fields, run lengths."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tests.imaging.decode.differential.sample import Sample, over_white

WIDTH, HEIGHT = 13, 7
RAW, RLE8, RLE4, BITFIELDS = range(4)
Indices = npt.NDArray[np.uint8]  # (H, W)


def write_bmp(
    rows: bytes,
    bits: int,
    *,
    header: int = 40,
    palette: npt.NDArray[np.uint8] | None = None,
    compression: int = RAW,
    masks: tuple[int, ...] = (),
    top_down: bool = False,
    gap: int = 0,
) -> bytes:
    """`rows` as they are stored; `gap` bytes lie between the palette and them."""
    height = -HEIGHT if top_down else HEIGHT
    num_colours = 0 if palette is None else len(palette)
    if header == 12:
        body = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        body = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, len(rows), 2835,
                           2835, num_colours, 0)  # fmt: skip
        body = struct.pack("<I", header) + body[4:]
        fields = struct.pack(f"<{len(masks)}I", *masks)
        body = (
            body[:header]
            if header < 40
            else (body + fields).ljust(max(header, len(body + fields)), b"\0")
        )
    colours = b""
    if palette is not None:
        spare = b"" if header == 12 else b"\0"
        colours = b"".join(bytes(colour[::-1]) + spare for colour in palette)
    start = 14 + len(body) + len(colours) + gap
    return (
        struct.pack("<2sIII", b"BM", start + len(rows), 0, start)
        + body
        + colours
        + bytes(gap)
        + rows
    )


def pack_rows(values: npt.NDArray[np.uint32], bits: int, *, top_down: bool = False) -> bytes:
    """(H, W) indices or pixels, each row padded to 4 bytes."""
    packed = []
    for row in values if top_down else values[::-1]:
        shifts = np.arange(bits - 1, -1, -1)
        if bits < 8:
            data = np.packbits((row[:, None] >> shifts & 1).astype(np.uint8)).tobytes()
        else:
            data = b"".join(int(value).to_bytes(bits // 8, "little") for value in row)
        packed.append(data + bytes(-len(data) % 4))
    return b"".join(packed)


def bmp_samples() -> Iterator[Sample]:
    yield from palette_samples()
    yield from field_samples()
    yield from run_length_samples()


def palette_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(3)
    for bits in (1, 2, 4, 8):
        indices = rng.integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint32)
        full = rng.integers(0, 256, (1 << bits, 3), np.uint8)
        greys = np.repeat(np.rint(np.linspace(0, 255, 1 << bits))[:, None], 3, axis=1)
        palettes = {
            "": full,
            "-grey": greys.astype(np.uint8),
            "-grey-down": greys[::-1].astype(np.uint8),
        }
        for kind, palette in palettes.items():
            for header in (12, 16, 40, 52, 56, 64, 108, 124):
                if header == 16 and kind:
                    continue
                for top_down in (False, True)[: 1 if header in (12, 16, 64) else 2]:
                    file = write_bmp(
                        pack_rows(indices, bits, top_down=top_down),
                        bits,
                        header=header,
                        palette=palette,
                        top_down=top_down,
                    )
                    name = f"bmp-{bits}{kind}-header-{header}{'-down' if top_down else ''}"
                    yield Sample(name, file, palette[indices])
        for count in (1, 2, 3, 200):
            if count >= 1 << bits:
                continue
            few = indices % count
            for kind, palette in (
                ("", full),
                ("-black-white", np.array([[0] * 3, [255] * 3] * 100, np.uint8)),
            ):
                file = write_bmp(pack_rows(few, bits), bits, palette=palette[:count], gap=4)
                yield Sample(f"bmp-{bits}-{count}-colours{kind}", file, palette[few])


# bits -> red, green, blue and perhaps alpha
FIELDS = {
    16: [(0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F), (0x0F00, 0xF0, 0xF), (0xF, 0xF0, 0xF00)],
    24: [(0xFF0000, 0xFF00, 0xFF)],
    32: [
        *((0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000), (0xFF000000, 0xFF0000, 0xFF00)),
        *(
            (0xFF00, 0xFF0000, 0xFF000000),
            (0x3FF00000, 0xFFC00, 0x3FF),
            (0xFE000000, 1 << 24, 0xFF),
        ),
    ],
}
ALPHA_FIELDS = {
    16: [(0xF00, 0xF0, 0xF, 0xF000), (0x7C00, 0x3E0, 0x1F, 0x8000)],
    32: [(0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF000000, 0xFF0000, 0xFF00, 0xFF)],
}


def field_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(4)
    for bits, layouts in FIELDS.items():
        pixels = rng.integers(0, 1 << bits, (HEIGHT, WIDTH), np.uint64)
        for masks in layouts:
            right = np.stack([channel(pixels, mask) for mask in masks], axis=-1)
            is_default = masks == layouts[0]
            name = f"bmp-{bits}-" + "-".join(f"{mask:x}" for mask in masks)
            if is_default:
                for header in (12, 40, 124):
                    file = write_bmp(pack_rows(pixels, bits), bits, header=header)
                    yield Sample(f"{name}-plain-{header}", file, np.rint(right).astype(np.uint8), 1)
            if bits == 24 and not is_default:
                continue
            for header in (40, 52, 56, 108, 124):
                for top_down in (False, True):
                    file = write_bmp(
                        pack_rows(pixels, bits, top_down=top_down),
                        bits,
                        header=header,
                        masks=masks,
                        compression=BITFIELDS,
                        top_down=top_down,
                    )
                    suffix = "-down" if top_down else ""
                    yield Sample(
                        f"{name}-{header}{suffix}", file, np.rint(right).astype(np.uint8), 1
                    )
    for bits, alpha_layouts in ALPHA_FIELDS.items():
        pixels = rng.integers(0, 1 << bits, (HEIGHT, WIDTH), np.uint64)
        for fields in alpha_layouts:
            channels = [channel(pixels, mask) for mask in fields]
            right = over_white(np.stack(channels[:3], axis=-1), channels[3] / 255)
            for header in (56, 108, 124):
                file = write_bmp(
                    pack_rows(pixels, bits),
                    bits,
                    header=header,
                    masks=fields,
                    compression=BITFIELDS,
                )
                yield Sample(f"bmp-{bits}-alpha-{fields[3]:x}-{header}", file, right, 1)


def channel(pixels: npt.NDArray[np.uint64], mask: int) -> npt.NDArray[np.floating]:
    low_bit = mask & -mask
    return (pixels & np.uint64(mask)) // np.uint64(low_bit) * (255 / (mask // low_bit))


def run_length_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(5)
    palette = rng.integers(0, 256, (16, 3), np.uint8)
    indices = np.repeat(rng.integers(0, 16, (HEIGHT, WIDTH)), 3, axis=1)[:, :WIDTH].astype(np.uint8)
    for bits, compression in ((8, RLE8), (4, RLE4)):
        for kind, encode_row in (("runs", runs), ("absolute", absolute), ("mixed", mixed)):
            rows = [encode_row(row, bits) for row in indices[::-1]]
            for end in (b"\0\0\0\1", b"\0\1"):  # the last row's end may be left out
                data = b"\0\0".join(rows) + end
                file = write_bmp(data, bits, palette=palette, compression=compression)
                yield Sample(f"bmp-rle{bits}-{kind}-{len(end)}", file, palette[indices])
        jump = b"\2\x11\0\2\3\2" + b"\2\x22" + b"\0\1"  # 2 pixels, 3 to the right and 2 up, 2 more
        moved = np.zeros((HEIGHT, WIDTH), np.uint8)
        moved[-1, :2] = 1 if bits == 4 else 0x11 % 16
        moved[-3, 5:7] = 2
        if bits == 8:
            jump = jump.replace(b"\x11", b"\1").replace(b"\x22", b"\2")
        file = write_bmp(jump, bits, palette=palette, compression=compression)
        yield Sample(f"bmp-rle{bits}-delta", file, palette[moved])


def runs(row: Indices, bits: int) -> bytes:
    result, start = b"", 0
    while start < len(row):
        stop = start
        while stop < len(row) and row[stop] == row[start]:
            stop += 1
        value = int(row[start])
        result += bytes([stop - start, value if bits == 8 else value * 17])
        start = stop
    return result


def absolute(row: Indices, bits: int) -> bytes:
    if bits == 8:
        data = row.tobytes()
    else:
        padded = np.append(row, np.zeros(len(row) % 2, np.uint8))
        data = (padded[::2] << 4 | padded[1::2]).tobytes()
    return bytes([0, len(row)]) + data + bytes(len(data) % 2)


def mixed(row: Indices, bits: int) -> bytes:
    return runs(row[:4], bits) + absolute(row[4:], bits)
