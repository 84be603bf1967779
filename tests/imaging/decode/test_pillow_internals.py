"""What imaging/decode relies on and Pillow does not promise: an upgrade may break any of it.

Each failure names the assumption and the code that depends on it.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from imaging.decode.deadline import TimedFile
from imaging.decode.decoder import decode_image
from imaging.decode.formats import ImageFormat
from imaging.decode.jpeg_reader import JpegFile
from imaging.decode.orientation import transposition
from imaging.decode.readers import READERS, GifFile
from imaging.decode.tiff.directory import read_directories
from imaging.decode.tiff.layout import read_layout
from imaging.decode.tiff.unpack import unpack
from imaging.decode.tiff.whole_images import TiffFile

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("Pillow did what its subclass in imaging/decode/readers.py prevents")


class CountingFile(TimedFile):
    """Keeps the sizes of what is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, seconds=60)
        self.sizes: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.sizes.append(len(found))
        return found


@pytest.mark.parametrize("name", READERS)
def test_readers_take_a_file_and_read_no_pixel_before_load(name: ImageFormat) -> None:
    data = encode(NOISE, name)
    file = CountingFile(data)
    image = READERS[name](file)
    used = "imaging/decode/readers.py, open_reader: the size is limited before pixels are decoded"
    assert isinstance(image, ImageFile.ImageFile), f"{name}: not an ImageFile any more. {used}"
    assert image.size == NOISE.size, f"{name}: the constructor leaves no size. {used}"
    # What these allocate is limited before the reader opens the file: webp.py, heif.
    if name not in ("WebP", "AVIF"):
        read = sum(file.sizes)
        assert read < len(data) / 2, f"{name}: the constructor reads {read} bytes. {used}"
        assert image._im is None, f"{name}: the constructor decodes. {used}"
    image.load()
    assert image.getpixel((0, 0)) is not None


# TIFF goes to libtiff whole, WebP to libwebp; both are bounded by structure and size alone.
@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP"])
def test_pixels_are_read_in_small_pieces_by_the_file_s_own_read(name: ImageFormat) -> None:
    data = encode(NOISE, name)
    file = CountingFile(data)
    READERS[name](file).load()
    used = "imaging/decode/deadline.py: a file whose time is up is noticed at the next read"
    assert sum(file.sizes) > len(data) / 2, f"{name}: pixels bypass `read`. {used}"
    assert max(file.sizes) <= 1 << 16, f"{name}: {max(file.sizes)} bytes in one read. {used}"


def test_a_jpeg_with_a_resolution_is_not_searched_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exif = Image.Exif()
    exif[0x011A] = 300.0  # XResolution
    data = encode(NOISE, "JPEG", exif=exif)
    without_jfif = data[:2] + data[20:]
    used = "imaging/decode/readers.py, JpegFile: in broken EXIF the search costs the picture"
    assert hasattr(JpegImagePlugin.JpegImageFile, "_open"), f"`_open` is gone. {used}"
    searched: list[Image.Image] = []

    def getexif(image: Image.Image) -> Image.Exif:
        searched.append(image)
        return exif

    monkeypatch.setattr(Image.Image, "getexif", getexif)
    JpegImagePlugin.JpegImageFile(io.BytesIO(without_jfif))
    assert searched, f"Pillow does not search EXIF on opening any more: drop the class. {used}"
    searched.clear()
    JpegFile(io.BytesIO(without_jfif))
    assert not searched, f"`info['dpi']` does not stop the search any more. {used}"


def test_a_gif_prepares_nothing_for_a_second_frame() -> None:
    dispose_to_background = b"!\xf9\4" + bytes([2 << 2, 0, 0, 0, 0])
    frame = b"," + struct.pack("<HHHH", 0, 0, 10, 10) + b"\0\2\1\0\0;"
    data = b"GIF89a" + struct.pack("<HH", 10, 10) + bytes(3) + dispose_to_background + frame
    used = "imaging/decode/readers.py, GifFile: disposal allocates up to 178 MB on opening"
    usual = GifImagePlugin.GifImageFile(io.BytesIO(data))
    assert getattr(usual, "disposal_method", None) == 2, f"`disposal_method` is gone. {used}"
    assert usual.dispose is not None, f"`dispose` is not prepared on opening any more. {used}"
    image = GifFile(io.BytesIO(data))
    assert image.disposal_method == 0, f"the property does not override the attribute. {used}"
    assert image.dispose is None, f"`disposal_method` does not decide about `dispose`. {used}"


def test_bombs_are_reported_by_these_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    frame = b"," + struct.pack("<HHHH", 0, 0, 12, 12) + b"\0\2\1\0\0;"
    data = b"GIF89a" + struct.pack("<HH", 10, 10) + bytes(3) + frame
    used = "imaging/decode/decoder.py, _image_errors: PILLOW_TOO_LARGE is 413, all else 400"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            GifFile(io.BytesIO(data))
        except Image.DecompressionBombWarning:
            return
    pytest.fail(f"the GIF reader does not check for bombs by a warning any more. {used}")


def test_a_tiff_s_tags_are_read_on_opening() -> None:
    used = "imaging/decode/tiff/whole_images.py: tags that libtiff reads and Pillow does not"
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        data = encode(NOISE, "TIFF", compression=compression)
        image = TiffFile(io.BytesIO(data))
        assert hasattr(image, "tag_v2"), f"`tag_v2` is gone. {used}"
        for tag in read_directories(data)[0].layout:
            assert tag in image.tag_v2, f"tag {tag} is not in `tag_v2` after opening. {used}"


def test_pillow_s_names_of_tags_are_those_of_the_standard() -> None:
    numbers = {
        **{"IMAGEWIDTH": 256, "IMAGELENGTH": 257, "BITSPERSAMPLE": 258, "COMPRESSION": 259},
        **{"PHOTOMETRIC_INTERPRETATION": 262, "FILLORDER": 266, "STRIPOFFSETS": 273},
        **{"SAMPLESPERPIXEL": 277, "ROWSPERSTRIP": 278, "STRIPBYTECOUNTS": 279},
        **{"PLANAR_CONFIGURATION": 284, "PREDICTOR": 317, "COLORMAP": 320, "TILEWIDTH": 322},
        **{"TILELENGTH": 323, "TILEOFFSETS": 324, "TILEBYTECOUNTS": 325, "EXTRASAMPLES": 338},
        **{"SAMPLEFORMAT": 339, "YCBCRSUBSAMPLING": 530},
    }
    found = {name: getattr(TiffImagePlugin, name, None) for name in numbers}
    assert found == numbers, "used in imaging/decode/tiff/directory.py, LAYOUT"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_s_other_directories_are_left_alone(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"  # when the photo was taken
    data = encode(NOISE, "TIFF", compression=compression, exif=exif)
    monkeypatch.setattr(Image.Exif, "get_ifd", forbidden)
    image = TiffFile(io.BytesIO(data))
    image.load()
    used = "imaging/decode/tiff/whole_images.py, TiffFile.load_end, which replaces Pillow's"
    assert image.size == NOISE.size[::-1], f"`load_end` is not called, or turns nothing. {used}"
    assert transposition(image) is None, f"it would be turned twice. {used}"


def test_libtiff_gives_the_bytes_of_strips_whatever_they_mean() -> None:
    """They are given to it as a grey picture, or of JPEG as one with as many channels."""
    used = "imaging/decode/tiff/unpack.py: pieces of any TIFF as strips of a small one"
    rows = np.random.default_rng(0).integers(0, 256, (6, 40), np.uint8)
    layout = read_layout(read_directories(encode(Image.fromarray(rows), "TIFF"))[0])
    for codec, encoded in ((8, zlib.compress), (32773, _packbits)):
        pieces = [encoded(rows[:3].tobytes()), encoded(rows[3:].tobytes())]
        unpacked = unpack(pieces, 3, replace(layout, compression=codec))
        np.testing.assert_array_equal(unpacked, rows, err_msg=used)
    for image in (NOISE, NOISE.convert("L"), NOISE.convert("CMYK")):
        data = encode(image, "TIFF", compression="jpeg")
        mode = TiffFile(io.BytesIO(data))
        mode.load()
        same = decode_image(data).tobytes() == mode.convert("RGB").tobytes()
        assert same, f"JPEG of mode {image.mode} differs from Pillow's own. {used}"


def _packbits(data: bytes) -> bytes:
    """Literal runs of at most 128 bytes (TIFF 6.0, section 9)."""
    runs = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def test_transparency_is_told_by_mode_and_info() -> None:
    used = "imaging/colour/transparency.py, split_alpha"
    assert hasattr(Image.Image, "has_transparency_data"), f"it is gone. {used}"
    for mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        assert Image.new(mode, (1, 1)).has_transparency_data, f"not of {mode}. {used}"
    for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"):
        image = Image.new(mode, (1, 1))
        assert not image.has_transparency_data, f"of {mode}. {used}"
        image.info["transparency"] = 0
        assert image.has_transparency_data, f"`info['transparency']` is not looked at. {used}"


def test_grey_wider_than_a_byte_has_these_modes() -> None:
    used = "imaging/colour/srgb.py, to_srgb"
    values = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    for mode, dtype in values.items():
        image = Image.fromarray(np.ones((2, 2), dtype))
        assert image.mode == mode, f"{dtype} has mode {image.mode}. {used}"
    png = READERS["PNG"](io.BytesIO(encode(Image.new("I;16", (2, 2)), "PNG")))
    assert png.mode == "I;16", f"a 16-bit PNG has mode {png.mode}. {used}"
