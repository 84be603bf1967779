"""Image files that are out to do harm, or only odd: the same for the same random numbers.

Every maker takes a generator of random numbers and returns a file. Most begin with an honest small
image of one of the formats read, in one of the modes it has, and spoil something in it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Final

from PIL import Image

Maker = Callable[[Random], bytes]

# Pillow's name of a format -> modes in which it can be written.
MODES: Final[dict[str, tuple[str, ...]]] = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK", "LAB", "YCbCr"),
    "GIF": ("P", "L", "1", "RGBA"),
    "BMP": ("RGB", "RGBA", "L", "P", "1"),
}
TIFF_COMPRESSIONS: Final = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd")
MAGIC: Final = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*"),
    *(b"GIF89a", b"\0\0\0\x18ftypheic", b"%PDF-1.7\n", b"<svg>", b"\0asm", b"PK\3\4", b"\x1f\x8b"),
)
# Numbers at which sums, products and signs go wrong, in the widths that headers have.
EDGES: Final = tuple(
    value.to_bytes(width, order)
    for width in (1, 2, 4)
    for value in (0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1)
    for order in ("little", "big")
)
MAX_SIDE: Final = 160  # px of an honest image: it costs a forward, and small ones lie as well


def picture(random: Random, mode: str, width: int = 0, height: int = 0) -> Image.Image:
    """Coloured blobs of the given size, or of a random one."""
    width = width or random.randint(1, MAX_SIDE)
    height = height or random.randint(1, MAX_SIDE)
    blobs = Image.frombytes("RGB", (4, 4), random.randbytes(48)).resize((width, height))
    if mode == "I;16":
        return blobs.convert("I").convert("I;16")
    if mode == "LAB":
        return blobs if width < 2 else Image.merge("LAB", blobs.split())
    return blobs.convert("L").convert(mode) if mode in "IF" else blobs.convert(mode)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def honest(random: Random) -> bytes:
    """A valid file of any format, mode and size."""
    file_format = random.choice([*MODES])
    mode = random.choice(MODES[file_format])
    options: dict[str, object] = {}
    if file_format == "JPEG":
        options = {"progressive": random.random() < 0.5, "quality": random.randint(1, 100)}
    elif file_format == "WEBP":
        options = {"lossless": random.random() < 0.5, "method": 0}
    elif file_format == "TIFF" and mode in ("RGB", "L", "1", "P"):
        options = {"compression": random.choice(TIFF_COMPRESSIONS)}
    elif file_format == "PNG":
        options = {"compress_level": random.choice((0, 1))}
    return saved(picture(random, mode), file_format, **options)


def cut(random: Random) -> bytes:
    """Truncated anywhere, most often in the header."""
    file = honest(random)
    return file[: random.randrange(min(len(file), random.choice((40, 400, len(file)))))]


def flipped(random: Random) -> bytes:
    """Some bits changed."""
    file = bytearray(honest(random))
    for _ in range(random.choice((1, 2, 8, 64))):
        file[random.randrange(len(file))] ^= 1 << random.randrange(8)
    return bytes(file)


def lying_header(random: Random) -> bytes:
    """Numbers in the first bytes replaced by extreme ones."""
    file = bytearray(honest(random))
    for _ in range(random.choice((1, 2, 4))):
        edge = random.choice(EDGES)
        start = random.randrange(2, max(3, min(len(file), random.choice((32, 300)))))
        file[start : start + len(edge)] = edge
    return bytes(file)


def spliced(random: Random) -> bytes:
    """The beginning of one file and the end of another, or a piece of itself over and over."""
    file, other = honest(random), honest(random)
    start = random.randrange(len(file))
    if random.random() < 0.5:
        return file[:start] + other[random.randrange(len(other)) :]
    stop = min(len(file), start + random.choice((1, 4, 40, 400)))
    return file[:start] + file[start:stop] * random.choice((2, 10, 1000)) + file[stop:]


def wrong_magic(random: Random) -> bytes:
    """The signature of another format, noise after a signature, or nothing but noise."""
    magic = random.choice(MAGIC)
    body = random.choice((honest(random)[8:], random.randbytes(random.choice((0, 1, 9, 900)))))
    return random.choice((magic + body, body, magic, bytes(random.randrange(2000))))


def absurd_size(random: Random) -> bytes:
    """A header that claims a canvas of gigapixels, or of none."""
    width, height = (random.choice((0, 1, 16_383, 20_001, 60_000, 2**31 - 1)) for _ in range(2))
    low = [min(side, 65_535) for side in (width, height)]
    bmp = struct.pack("<IIIIii", 900, 0, 54, 40, width, -height) + b"\1\0\x18"
    entries = {256: width, 257: height, 258: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: 100}
    canvas = struct.pack("<I", 16) + b"".join(
        (max(side, 1) - 1 & 0xFFFFFF).to_bytes(3, "little") for side in (width, height)
    )
    return random.choice(
        (
            png(width, height),
            b"GIF89a" + struct.pack("<HH", *low) + bytes(3) + gif_frame(*low),
            b"BM" + bmp + bytes(900),
            riff((b"VP8X", canvas), (b"VP8 ", bytes(40))),
            b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", *low) + b"\3" + bytes(900),
            tiff(entries),
        )
    )


def strip(random: Random) -> bytes:
    """One pixel high or wide."""
    file_format = random.choice([*MODES])
    longest = 16_383 if file_format == "WEBP" else 20_001
    sides = [1, random.choice((1, 2, 5000, longest))]
    random.shuffle(sides)
    return saved(picture(random, MODES[file_format][0], *sides), file_format)


def animation(random: Random) -> bytes:
    """Several frames, of one size where the format wants that."""
    file_format = random.choice(("GIF", "PNG", "WEBP", "TIFF"))
    width, height = random.randint(1, 80), random.randint(1, 80)
    frames = [picture(random, "RGB", width, height) for _ in range(random.randint(2, 12))]
    return saved(frames[0], file_format, save_all=True, append_images=frames[1:])


def bomb(random: Random) -> bytes:
    """Little that unpacks to much: pixels behind a small or a large header, texts, profiles."""
    unpacked = zlib.compress(bytes(random.choice((1, 8)) << 20), 9)
    many = random.choice((1, 20, 120))
    side = random.choice((8, 6000, 7071, 60_000))
    return random.choice(
        (
            png(side, side, pixels=unpacked),
            png(8, 8, before=chunk(b"zTXt", b"a\0\0" + unpacked) * many),
            png(8, 8, before=chunk(b"iTXt", b"a\0\1\0\0\0" + unpacked) * many),
            png(8, 8, before=chunk(b"iCCP", b"a\0\0" + unpacked) * many),
            tiff({256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 200, 277: 1, 279: 999})
            + unpacked,
        )
    )


def metadata(random: Random) -> bytes:
    """EXIF, colour profiles and texts that are huge, empty, noise, or go round in circles."""
    blob = random.choice((b"", random.randbytes(60), bytes(60_000), looping_ifd(random)))
    file_format = random.choice(("JPEG", "PNG", "WEBP", "TIFF"))
    image = picture(random, "RGB")
    if file_format == "TIFF":
        ifd = random.choice((b"\x69\x87", b"\x25\x88", b"\x4a\x01", b"\x05\xa0"))
        file = bytearray(saved(image, "TIFF"))
        at = file.index(b"\x16\x01")  # rows per strip: its entry becomes that of another directory
        file[at : at + 2] = ifd
        return bytes(file)
    options: dict[str, object] = {"exif": b"Exif\0\0" + blob, "icc_profile": blob}
    if file_format == "JPEG":
        options["comment"] = blob[:4_000]  # Pillow 12 writes it in one buffer with the profile
    return saved(image, file_format, **options)


def odd_tags(random: Random) -> bytes:
    """A TIFF with tags of any type, number and value: texts for numbers, fractions, long tables."""
    entries = {256: 10, 257: 10, 258: 8, 262: 1, 277: 1, 278: random.choice((1, 10))}
    entries[259] = random.choice((1, 1, 5, 6, 7, 8, 32773, 34925, 50000, 50001))
    entries[266] = random.choice((1, 2))
    pieces = random.choice(({273: 8, 279: 100}, {322: 16, 323: 16, 324: 8, 325: 100}))
    file = bytearray(tiff({**entries, **pieces, 322: 16}))
    file += bytes(random.choice((100, 3_000_000)))
    file[:4] = random.choice((b"II*\0",) * 8 + (b"MM\0+", b"II+\0", b"MM\0*"))
    for _ in range(random.choice((1, 2, 4))):
        at = 10 + 12 * random.randrange(11)  # of an entry, behind its tag
        if random.random() < 0.5:
            file[at + 2 : at + 4] = struct.pack("<H", random.randint(1, 18))
        if random.random() < 0.3:
            file[at + 4 : at + 8] = struct.pack("<I", random.choice((0, 2, 99, 2**18, 10**6)))
        if random.random() < 0.5:  # where it is too long for 4 bytes: its offset
            value = random.choice((b"A\0\0\0", struct.pack("<I", random.randrange(200)), *EDGES))
            file[at + 8 : at + 8 + len(value)] = value
    return bytes(file)


def many_pieces(random: Random) -> bytes:
    """Thousands of segments, chunks, blocks, frames, scans or directory entries."""
    count = random.choice((500, 5000, 50_000))
    jpeg = saved(picture(random, "RGB"), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda\0") : -2]
    segment = random.choice((b"\xff\xe5\0\2", b"\xff\xfe\0\3a", b"\xff\xe1\0\x08Exif\0\0", b"\xff"))
    values = random.choice((1, 300, 2**18 + 1))
    gif = b"GIF89a" + struct.pack("<HH", 9, 9) + bytes(3)
    return random.choice(
        (
            jpeg[:2] + segment * count + jpeg[2:],
            jpeg[:-2] + scan * min(count, 200_000 // len(scan)) + jpeg[-2:],
            png(8, 8, before=chunk(random.choice((b"tEXt", b"prVt", b"fcTL")), b"a\0") * count),
            gif + b"!\xfe\1a\0" * count + gif_frame(9, 9),
            gif + gif_frame(9, 9)[:-1] * count,
            riff(
                (b"VP8X", b"\2\0\0\0" + bytes(6)),
                (b"ANIM", bytes(6)),
                *[(b"ANMF", bytes(16))] * count,
            ),
            tiff(dict.fromkeys(range(256, 256 + min(count, 9000)), values)),
        )
    )


def large(random: Random) -> bytes:
    """Megabytes, below and beyond the limit: noise, padding, a true image and then zeros."""
    megabytes = random.choice((1, 8, 33))
    return random.choice(
        (
            honest(random) + bytes(megabytes << 20),
            b"\xff\xd8\xff\xe0\0\2" + bytes(megabytes << 20),
            b"\x89PNG\r\n\x1a\n" + random.randbytes(1000) * (megabytes * 1000),
        )
    )


def png(width: int, height: int, pixels: bytes | None = None, before: bytes = b"") -> bytes:
    """8-bit grey, with chunks before the pixels; all checksums right."""
    if pixels is None:
        pixels = zlib.compress(bytes(min(height * (width + 1), 100_000)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), before, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def gif_frame(width: int, height: int) -> bytes:
    return b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\2\2\x4c\1\0;"


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP container."""
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(entries: dict[int, int]) -> bytes:
    """One directory of 32-bit numbers, after which it begins anew."""
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + b"\x08\0\0\0"


def looping_ifd(random: Random) -> bytes:
    """EXIF whose directories point at themselves, or far away."""
    offset = random.choice((8, 0, 10, 2**32 - 1))
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 3)
        + b"".join(
            (
                struct.pack("<HHII", 0x8769, 4, 1, offset),
                struct.pack("<HHII", 0x8825, 4, random.choice((1, 2**30)), offset),
                struct.pack("<HHII", 0xA005, 13, 1, offset),
                struct.pack("<I", random.choice((8, offset))),
            )
        )
    )


# How often each is made. A large file takes as long as many small ones.
MAKERS: Final[dict[Maker, int]] = {
    honest: 6,
    cut: 10,
    flipped: 14,
    lying_header: 14,
    spliced: 8,
    wrong_magic: 6,
    absurd_size: 10,
    strip: 3,
    animation: 3,
    bomb: 6,
    metadata: 8,
    odd_tags: 6,
    many_pieces: 8,
    large: 1,
}


def hostile_image(random: Random) -> tuple[str, bytes]:
    """The name of a maker, and a file that it made."""
    (maker,) = random.choices([*MAKERS], [*MAKERS.values()])
    return maker.__name__, maker(random)
