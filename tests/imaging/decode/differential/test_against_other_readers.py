"""Hundreds of generated files, decoded by us, by OpenCV and by libvips."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch
from typing import Final, NamedTuple

import numpy as np
import pytest

from imaging.decode.decoder import decode_image
from tests.imaging.decode.differential.bmp_samples import bmp_samples
from tests.imaging.decode.differential.photo_samples import photo_samples
from tests.imaging.decode.differential.png_samples import png_samples
from tests.imaging.decode.differential.readers import READERS
from tests.imaging.decode.differential.sample import Pixels, Sample

SAMPLES: Final = {
    sample.name: sample for sample in (*png_samples(), *bmp_samples(), *photo_samples())
}
BOUND: Final = 2  # levels between two readers of one file: rounding of colours and of blending


class Disagreement(NamedTuple):
    reader: str
    samples: str  # a pattern of names
    reason: str


KNOWN: Final = (
    Disagreement("OpenCV", "png-0-*-trns", "takes no notice of a transparent grey"),
    Disagreement("OpenCV", "png-*-gama-*000", "takes no notice of gAMA"),
    Disagreement("libvips", "png-*-gama-*000", "takes no notice of gAMA"),
    Disagreement("OpenCV", "png-*-sbit-*", "takes the high byte, whatever bits are used"),
    Disagreement("libvips", "png-*-sbit-*", "takes the high byte, whatever bits are used"),
    Disagreement("OpenCV", "bmp-16-*", "shifts 5 bits up to 8, so that white is 248"),
    Disagreement("OpenCV", "bmp-32-*-40*", "reads no fields, and takes the spare byte for alpha"),
    Disagreement("OpenCV", "bmp-32-*-52*", "reads no fields, and takes the spare byte for alpha"),
    Disagreement("OpenCV", "avif-orientation-[2-8]", "takes no notice of irot and imir"),
    Disagreement("OpenCV", "*-display-p3", "takes no notice of profiles"),
    Disagreement("OpenCV", "jpeg-printer", "takes no notice of profiles"),
    Disagreement("libvips", "jpeg-cmyk-adobe", "has a profile of its own for CMYK without one"),
    Disagreement("libvips", "avif-*4:2:?", "upsamples chroma without smoothing it"),
    Disagreement(
        "libvips", "avif-display-p3", "rounds YCbCr otherwise, which steep curves magnify"
    ),
)


def difference(first: Pixels, second: Pixels) -> int:
    """The largest, in levels; 256 between pictures of different sizes."""
    if first.shape != second.shape:
        return 256
    return int(abs(first.astype(np.int16) - second).max())


@pytest.mark.parametrize("name", SAMPLES)
def test_pixels_are_right(name: str) -> None:
    sample = SAMPLES[name]
    ours = np.asarray(decode_image(sample.data))
    if sample.right is not None:
        assert difference(ours, sample.right) <= sample.bound
    for reader in agreeing_readers(sample):
        try:
            theirs = READERS[reader](sample.data)
        except ValueError:
            continue
        assert difference(ours, theirs) <= BOUND, reader


def agreeing_readers(sample: Sample) -> list[str]:
    differing = {known.reader for known in KNOWN if fnmatch(sample.name, known.samples)}
    return [reader for reader in READERS if reader not in differing]


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.reader}-{known.samples}")
def test_known_disagreements_are_still_there(known: Disagreement) -> None:
    differences = []
    for sample in SAMPLES.values():
        if fnmatch(sample.name, known.samples):
            try:
                theirs = READERS[known.reader](sample.data)
            except ValueError:
                continue
            differences.append(difference(np.asarray(decode_image(sample.data)), theirs))
    assert max(differences) > BOUND, f"{known.reader} agrees now: remove the entry"


def test_the_other_readers_read_most_of_the_files() -> None:
    read = Counter(
        reader
        for sample in SAMPLES.values()
        for reader in agreeing_readers(sample)
        if is_read(reader, sample.data)
    )
    assert read["OpenCV"] > 350
    assert read["libvips"] > 250


def is_read(reader: str, data: bytes) -> bool:
    try:
        READERS[reader](data)
    except ValueError:
        return False
    return True
