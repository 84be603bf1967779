"""Image files that attack a decoder, or are merely unusual.

Every maker takes a random number generator and returns a file, the same file for the same state of
the generator. Most begin with a small valid image and corrupt something in it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Final

import pillow_heif
from PIL import Image, ImageCms

from scripts.stress.fuzz.image_containers import (
    bmp_header,
    exif_pointing_to,
    gif_frame,
    gif_header,
    jpeg_header,
    png,
    png_chunk,
    tiff,
    webp,
    webp_canvas,
)
from scripts.stress.fuzz.tiff_layouts import odd_layout

Maker = Callable[[Random], bytes]

# Pillow's name of a format -> modes in which it can be written.
MODES: Final[dict[str, tuple[str, ...]]] = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "I", "F", "CMYK", "LAB", "YCbCr"),
    "GIF": ("P", "L", "1", "RGBA"),
    "BMP": ("RGB", "RGBA", "L", "P", "1"),
    "AVIF": ("RGB", "RGBA", "L"),
    "HEIC": ("RGB", "RGBA", "L"),
}
TIFF_COMPRESSIONS: Final = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd")
FIRST_BYTES: Final = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*"),
    *(b"GIF89a", b"\0\0\0\x18ftypheic", b"%PDF-1.7\n", b"<svg>", b"\0asm", b"PK\3\4", b"\x1f\x8b"),
)
# Integers at which sums, products and signs overflow, in the widths that headers use.
BOUNDARY_VALUES: Final = tuple(
    value.to_bytes(width, order)
    for width in (1, 2, 4)
    for value in (0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1)
    for order in ("little", "big")
)
MAX_SIDE: Final = 160  # px of a valid image: each costs a forward pass


def blobs(random: Random, mode: str, width: int = 0, height: int = 0) -> Image.Image:
    """Coloured blobs in one of Pillow's modes; a side of 0 px means a random one."""
    width = width or random.randint(1, MAX_SIDE)
    height = height or random.randint(1, MAX_SIDE)
    image = Image.frombytes("RGB", (4, 4), random.randbytes(48)).resize((width, height))
    if mode == "I;16":
        return image.convert("I").convert("I;16")
    if mode == "LAB":
        return image if width < 2 else Image.merge("LAB", image.split())
    return image.convert("L").convert(mode) if mode in "IF" else image.convert(mode)


def image_file(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    if file_format == "HEIC":
        pillow_heif.from_pillow(image).save(file, quality=50)
        return file.getvalue()
    image.save(file, file_format, **options)
    return file.getvalue()


def valid(random: Random) -> bytes:
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
    elif file_format == "AVIF":
        options = {"speed": 10, "subsampling": random.choice(("4:2:0", "4:4:4", "4:0:0"))}
    return image_file(blobs(random, mode), file_format, **options)


def truncated(random: Random) -> bytes:
    """Truncated anywhere, most often in the header."""
    file = valid(random)
    return file[: random.randrange(min(len(file), random.choice((40, 400, len(file)))))]


def flipped_bits(random: Random) -> bytes:
    """Up to 64 bits flipped."""
    file = bytearray(valid(random))
    for _ in range(random.choice((1, 2, 8, 64))):
        file[random.randrange(len(file))] ^= 1 << random.randrange(8)
    return bytes(file)


def lying_header(random: Random) -> bytes:
    """Integers among the first bytes replaced by boundary values."""
    file = bytearray(valid(random))
    for _ in range(random.choice((1, 2, 4))):
        value = random.choice(BOUNDARY_VALUES)
        start = random.randrange(2, max(3, min(len(file), random.choice((32, 300)))))
        file[start : start + len(value)] = value
    return bytes(file)


def spliced(random: Random) -> bytes:
    """The beginning of one file and the end of another, or a piece of one file repeated."""
    file, other = valid(random), valid(random)
    start = random.randrange(len(file))
    if random.random() < 0.5:
        return file[:start] + other[random.randrange(len(other)) :]
    stop = min(len(file), start + random.choice((1, 4, 40, 400)))
    return file[:start] + file[start:stop] * random.choice((2, 10, 1000)) + file[stop:]


def wrong_signature(random: Random) -> bytes:
    """The signature of another format, noise after a signature, or only noise."""
    signature = random.choice(FIRST_BYTES)
    body = random.choice((valid(random)[8:], random.randbytes(random.choice((0, 1, 9, 900)))))
    return random.choice((signature + body, body, signature, bytes(random.randrange(2000))))


def absurd_size(random: Random) -> bytes:
    """A header that claims gigapixels, or no pixels."""
    width, height = (random.choice((0, 1, 16_383, 20_001, 60_000, 2**31 - 1)) for _ in range(2))
    short_width, short_height = min(width, 65_535), min(height, 65_535)  # of 16-bit headers
    entries = {256: width, 257: height, 258: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: 100}
    return random.choice(
        (
            png(width, height),
            gif_header(short_width, short_height) + gif_frame(short_width, short_height),
            bmp_header(width, height) + bytes(900),
            webp(webp_canvas(width, height), (b"VP8 ", bytes(40))),
            jpeg_header(short_width, short_height) + bytes(900),
            tiff(entries),
        )
    )


def strip(random: Random) -> bytes:
    """One pixel high or wide. HEVC's encoder makes no such files."""
    file_format = random.choice([name for name in MODES if name != "HEIC"])
    longest = {"WEBP": 16_383, "AVIF": 16_000}.get(file_format, 20_001)
    sides = [1, random.choice((1, 2, 5000, longest))]
    random.shuffle(sides)
    return image_file(blobs(random, MODES[file_format][0], *sides), file_format)


def animation(random: Random) -> bytes:
    """Several frames of one size."""
    file_format = random.choice(("GIF", "PNG", "WEBP", "TIFF", "AVIF"))
    width, height = random.randint(1, 80), random.randint(1, 80)
    frames = [blobs(random, "RGB", width, height) for _ in range(random.randint(2, 12))]
    return image_file(frames[0], file_format, save_all=True, append_images=frames[1:])


def bomb(random: Random) -> bytes:
    """Megabytes in a small file: pixels behind a small or large header, texts, profiles."""
    compressed = zlib.compress(bytes(random.choice((1, 8)) << 20), 9)
    count = random.choice((1, 20, 120))
    side = random.choice((8, 6000, 7071, 60_000))
    return random.choice(
        (
            png(side, side, pixels=compressed),
            png(8, 8, before=png_chunk(b"zTXt", b"a\0\0" + compressed) * count),
            png(8, 8, before=png_chunk(b"iTXt", b"a\0\1\0\0\0" + compressed) * count),
            png(8, 8, before=png_chunk(b"iCCP", b"a\0\0" + compressed) * count),
            tiff({256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 200, 277: 1, 279: 999})
            + compressed,
        )
    )


def metadata(random: Random) -> bytes:
    """EXIF, colour profiles and texts that are huge, empty, noise or cyclic."""
    blob = random.choice((b"", random.randbytes(60), bytes(60_000), cyclic_exif(random)))
    file_format = random.choice(("JPEG", "PNG", "WEBP", "TIFF"))
    image = blobs(random, "RGB")
    if file_format == "TIFF":
        tag = random.choice((b"\x69\x87", b"\x25\x88", b"\x4a\x01", b"\x05\xa0"))
        file = bytearray(image_file(image, "TIFF"))
        at = file.index(b"\x16\x01")  # rows per strip: its entry becomes that of another directory
        file[at : at + 2] = tag
        return bytes(file)
    options: dict[str, object] = {"exif": b"Exif\0\0" + blob, "icc_profile": blob}
    if file_format == "JPEG":
        options["comment"] = blob[:4_000]  # Pillow 12 writes it in one buffer with the profile
    return image_file(image, file_format, **options)


def cyclic_exif(random: Random) -> bytes:
    """EXIF whose directories point to themselves, or far beyond the file."""
    offset = random.choice((8, 0, 10, 2**32 - 1))
    return exif_pointing_to(offset, random.choice((1, 2**30)), random.choice((8, offset)))


def odd_tags(random: Random) -> bytes:
    """A TIFF with tags of any type, count and value: texts as numbers, fractions, long tables."""
    entries = {256: 10, 257: 10, 258: 8, 262: 1, 277: 1, 278: random.choice((1, 10))}
    entries[259] = random.choice((1, 1, 5, 6, 7, 8, 32773, 34925, 50000, 50001))
    entries[266] = random.choice((1, 2))
    pieces = random.choice(({273: 8, 279: 100}, {322: 16, 323: 16, 324: 8, 325: 100}))
    file = bytearray(tiff({**entries, **pieces, 322: 16}))
    file += bytes(random.choice((100, 3_000_000)))
    file[:4] = random.choice((b"II*\0",) * 8 + (b"MM\0+", b"II+\0", b"MM\0*"))
    for _ in range(random.choice((1, 2, 4))):
        at = 10 + 12 * random.randrange(11)  # an entry: tag, type, count, value or offset
        if random.random() < 0.5:
            file[at + 2 : at + 4] = struct.pack("<H", random.randint(1, 18))
        if random.random() < 0.3:
            file[at + 4 : at + 8] = struct.pack("<I", random.choice((0, 2, 99, 2**18, 10**6)))
        if random.random() < 0.5:
            offset = struct.pack("<I", random.randrange(200))
            value = random.choice((b"A\0\0\0", offset, *BOUNDARY_VALUES))
            file[at + 8 : at + 8 + len(value)] = value
    return bytes(file)


def odd_boxes(random: Random) -> bytes:
    """AVIF and HEIC with sizes, offsets and types of boxes that are not true."""
    file_format = random.choice(("AVIF", "HEIC"))
    options = {"speed": 10} if file_format == "AVIF" else {}
    file = bytearray(
        image_file(blobs(random, random.choice(("RGB", "RGBA"))), file_format, **options)
    )
    media = file.index(b"mdat")
    names = (
        b"ispe",
        b"iloc",
        b"infe",
        b"ipma",
        b"colr",
        b"pixi",
        b"av1C",
        b"hvcC",
        b"pitm",
        b"iref",
    )
    for _ in range(random.choice((1, 1, 2, 8))):
        at = file.find(random.choice(names)) + random.choice(
            (-4, 0, 4, 8, 12, random.randrange(40))
        )
        if random.random() < 0.2:
            at = random.randrange(media, min(media + 40, len(file)))  # the codec's own headers
        value = random.choice((*BOUNDARY_VALUES, random.randbytes(4)))
        at = min(max(at, 12), len(file) - 5)
        file[at : at + len(value)] = value
    return bytes(file)


def odd_bitmap(random: Random) -> bytes:
    """A BMP of any header, depth, compression, fields and palette, with noise for pixels."""
    header = random.choice((12, 16, 40, 52, 56, 64, 108, 124))
    bits, compression = random.choice((1, 2, 4, 8, 16, 24, 32)), random.choice((0, 0, 1, 2, 3, 6))
    width, height = random.choice((1, 7, 160)), random.choice((1, -9, 120))
    fields = struct.pack("<HHHH", width, abs(height), 1, bits)
    if header != 12:
        num_colours = random.choice((0, 1, 2, 300))
        fields = struct.pack(
            "<iiHHIIiiII", width, height, 1, bits, compression, 0, 0, 0, num_colours, 0
        )
    masks = random.choice((struct.pack("<4I", 0x7C00, 0x3E0, 0x1F, 0), random.randbytes(16)))
    body = (struct.pack("<I", header) + fields + masks).ljust(header, b"\0")
    body = body[:header] if header < 40 else body[: max(header, len(body))]
    start = random.choice((0, 14 + len(body), 14 + len(body) + 1024, 2**31))
    pixels = random.randbytes(random.choice((0, 50, 20_000)))
    return struct.pack("<2sIII", b"BM", 0, 0, start) + body + random.randbytes(1024) + pixels


def colours(random: Random) -> bytes:
    """Profiles with changed bytes, and PNG's chunks about colour with any content."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for _ in range(random.choice((0, 1, 2, 8))):
        profile[random.randrange(len(profile))] = random.randrange(256)
    if random.random() < 0.3:  # other primaries, so that it is converted by
        at = profile.index(b"XYZ ", 200)
        profile[at + 8 : at + 20] = random.randbytes(12)
    if random.random() < 0.5:
        file_format = random.choice(("JPEG", "PNG", "WEBP", "TIFF", "AVIF"))
        return image_file(blobs(random, "RGB"), file_format, icc_profile=bytes(profile))
    names = (b"gAMA", b"cHRM", b"cICP", b"sBIT", b"sRGB", b"iCCP", b"tRNS")
    chunks = b""
    for name in random.sample(names, random.randint(1, 4)):
        content = random.choice((random.randbytes(random.choice((1, 4, 32))), *BOUNDARY_VALUES))
        chunks += png_chunk(name, content)
    file = image_file(blobs(random, random.choice(("RGB", "I;16", "LA", "P"))), "PNG")
    return file[:33] + chunks + file[33:]


def many_pieces(random: Random) -> bytes:
    """Thousands of segments, chunks, blocks, frames, scans or directory entries."""
    count = random.choice((500, 5000, 50_000))
    jpeg = image_file(blobs(random, "RGB"), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda\0") : -2]
    segment = random.choice((b"\xff\xe5\0\2", b"\xff\xfe\0\3a", b"\xff\xe1\0\x08Exif\0\0", b"\xff"))
    values = random.choice((1, 300, 2**18 + 1))
    gif = gif_header(9, 9)
    return random.choice(
        (
            jpeg[:2] + segment * count + jpeg[2:],
            jpeg[:-2] + scan * min(count, 200_000 // len(scan)) + jpeg[-2:],
            png(8, 8, before=png_chunk(random.choice((b"tEXt", b"prVt", b"fcTL")), b"a\0") * count),
            gif + b"!\xfe\1a\0" * count + gif_frame(9, 9),
            gif + gif_frame(9, 9)[:-1] * count,
            webp(
                (b"VP8X", b"\2\0\0\0" + bytes(6)),
                (b"ANIM", bytes(6)),
                *[(b"ANMF", bytes(16))] * count,
            ),
            tiff(dict.fromkeys(range(256, 256 + min(count, 9000)), values)),
        )
    )


def large(random: Random) -> bytes:
    """Megabytes, below and beyond the limit: noise, padding, a valid image followed by zeros."""
    megabytes = random.choice((1, 8, 33))
    return random.choice(
        (
            valid(random) + bytes(megabytes << 20),
            b"\xff\xd8\xff\xe0\0\2" + bytes(megabytes << 20),
            b"\x89PNG\r\n\x1a\n" + random.randbytes(1000) * (megabytes * 1000),
        )
    )


# Relative frequencies. A large file takes as long as many small ones.
IMAGE_MAKERS: Final[dict[Maker, int]] = {
    valid: 6,
    truncated: 10,
    flipped_bits: 14,
    lying_header: 14,
    spliced: 8,
    wrong_signature: 6,
    absurd_size: 10,
    strip: 3,
    animation: 3,
    bomb: 6,
    metadata: 8,
    odd_tags: 6,
    odd_layout: 6,
    odd_boxes: 4,
    odd_bitmap: 4,
    colours: 6,
    many_pieces: 8,
    large: 1,
}


def hostile_image(random: Random) -> tuple[str, bytes]:
    """The name of a maker, and a file that it made."""
    (maker,) = random.choices([*IMAGE_MAKERS], [*IMAGE_MAKERS.values()])
    return maker.__name__, maker(random)
