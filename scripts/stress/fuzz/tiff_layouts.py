"""TIFF files of any arrangement of samples, true or not."""

from __future__ import annotations

import lzma
import zlib
from random import Random
from typing import Final

from scripts.stress.fuzz.tiff_writer import Values, tiff_file

UNCOMPRESSED, DEFLATE, PACKBITS, LZMA = 1, 8, 32773, 34925
MAX_SIDE: Final = 90  # px; each valid image costs a forward pass

# Values that contradict what is there, or belong to kinds that are not read.
ODD_VALUES: Final = (0, 1, 2, 3, 7, 255, 4096, 20_001, 65_535)
ODD_TAGS: Final = (
    *(254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 317, 320, 322, 323, 332, 338, 339),
    *(347, 530, 33421, 34675, 50706),
)
NO_DATA: Final = ("0", "255", "-9999", "nan", "1e400", "-inf", "", "9" * 60)


def odd_layout(random: Random) -> bytes:
    """Samples of any width and type in strips, tiles and planes, behind any predictor.

    In half of them a tag or two say something else than what is stored.
    """
    width, height = random.randint(1, MAX_SIDE), random.randint(1, MAX_SIDE)
    number = random.choice((1, 1, 1, 2, 3))
    bits = random.choice({1: (1, 2, 4, 8, 10, 12, 16, 32), 2: (8, 16, 32), 3: (16, 32, 64)}[number])
    channels = random.choice((1, 1, 2, 3, 3, 4, 5, 30))
    in_planes = random.random() < 0.3
    tags: dict[int, Values] = {
        **{256: width, 257: height, 258: [bits] * channels, 277: channels},
        **{259: random.choice((UNCOMPRESSED, DEFLATE, DEFLATE, PACKBITS, LZMA))},
        **{262: random.choice((0, 1, 1, 2, 3, 5, 6)), 284: 2 if in_planes else 1},
        **{317: random.choice((1, 1, 2, 3)), 339: [number] * channels},
        **{274: random.randint(0, 9), 338: [random.choice((0, 1, 2))] * max(1, channels - 3)},
    }
    if random.random() < 0.3:
        tags[320] = [random.randrange(65_536) for _ in range(3 << min(bits, 8))]
    if random.random() < 0.3:
        tags[42113] = random.choice(NO_DATA)
    tile_width, rows = width, random.choice((1, 8, height))
    tags[278] = rows
    if random.random() < 0.4:
        tile_width, rows = random.choice((16, 64, 128)), random.choice((16, 64))
        tags |= {322: tile_width, 323: rows}
    num_pieces = -(-width // tile_width) * -(-height // rows) * (channels if in_planes else 1)
    row_bytes = -(-tile_width * (1 if in_planes else channels) * bits // 8)
    piece = compressed(random.randbytes(row_bytes) * rows, tags[259])
    pieces = [b"" if random.random() < 0.05 else piece for _ in range(num_pieces)]
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 2, 4))):
            tags[random.choice(ODD_TAGS)] = random.choice(ODD_VALUES)
    order, big = random.choice("<>"), random.random() < 0.4
    thumbnail: dict[int, Values] = {**tags, 254: 1}
    if random.random() < 0.2:
        below = random.randrange(2)
        return tiff_file((thumbnail, pieces), (tags, pieces), order=order, sub_directories=below)
    return tiff_file((tags, pieces), order=order, big=big)


def compressed(data: bytes, compression: Values) -> bytes:
    if compression == DEFLATE:
        return zlib.compress(data, 1)
    if compression == LZMA:
        return lzma.compress(data, preset=0)
    if compression == PACKBITS:  # literal runs
        runs = (data[start : start + 128] for start in range(0, len(data), 128))
        return b"".join(bytes([len(run) - 1]) + run for run in runs)
    return data
