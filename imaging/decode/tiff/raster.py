"""Pieces of a TIFF -> one array of numbers, of the channels that are wanted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from imaging.decode.deadline import Deadline
from imaging.decode.jpeg import START_OF_SCAN
from imaging.decode.jpeg_reader import END_MARK
from imaging.decode.tiff.codes import UNCOMPRESSED
from imaging.decode.tiff.directory import STRIPS, TILES, TiffDirectory
from imaging.decode.tiff.layout import SampleLayout
from imaging.decode.tiff.samples import read_samples
from imaging.decode.tiff.unpack import unpack

# Pieces that are unpacked together: a call into libtiff for each of 190 000 tiles would take 20 s.
GROUP_BYTES: Final = 1 << 22

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Raster:
    """The numbers of an image as they are stored, lying as they are stored."""

    values: npt.NDArray[np.generic]  # (H, W, C)
    written: npt.NDArray[np.bool_] | None  # (H, W), False where pieces are left out; None: none are


class Piece(NamedTuple):
    """A strip or tile: its place in the grid of pieces, and its bytes, none if it is left out."""

    row: int
    column: int
    content: bytes


def read_raster(
    directory: TiffDirectory,
    layout: SampleLayout,
    channels: Sequence[int],
    blank: np.generic,
    deadline: Deadline,
) -> Raster:
    """The numbers of `channels`, which are those of the result.

    A piece that is left out, as GDAL does with those in which nothing is (SPARSE_OK), is `blank`.
    Raises ValueError where the file is damaged, ImageTooLarge at the deadline, and what Pillow does
    for bytes that cannot be unpacked.
    """
    values = np.empty((layout.height, layout.width, len(channels)), layout.dtype)
    written: npt.NDArray[np.bool_] | None = None
    for plane, target, picked in _planes(layout, channels):
        for group in _groups(directory, layout, plane):
            deadline.check()
            if not group[0].content:
                if written is None:
                    written = np.ones(values.shape[:2], np.bool_)
                for piece in group:
                    _place(values, piece, layout)[..., target] = blank
                    _place(written, piece, layout)[...] = False
                continue
            samples = _samples(group, layout)[..., picked]
            for run, block in _rows_of_pieces(group, samples):
                place = _place(values, run[0], layout, len(run))
                rows, columns = place.shape[:2]
                place[..., target] = block[:rows, :columns]
    return Raster(values, written)


def _planes(
    layout: SampleLayout, channels: Sequence[int]
) -> list[tuple[int, slice, slice | list[int]]]:
    """Each plane to read, where it belongs in the result, and what of a piece is taken."""
    if layout.in_planes:
        return [(plane, slice(at, at + 1), slice(0, 1)) for at, plane in enumerate(channels)]
    # A slice is a view, while a list makes a copy.
    is_first = list(channels) == list(range(len(channels)))
    return [(0, slice(None), slice(0, len(channels)) if is_first else list(channels))]


def _samples(group: Sequence[Piece], layout: SampleLayout) -> npt.NDArray[np.generic]:
    """(len(group), rows, piece_width, piece_channels)"""
    height = layout.rows_of_piece(group[0].row)
    rows = unpack([piece.content for piece in group], height, layout)
    return read_samples(rows, layout).reshape(
        len(group), height, layout.piece_width, layout.piece_channels
    )


def _rows_of_pieces(
    group: Sequence[Piece], samples: npt.NDArray[np.generic]
) -> Iterator[tuple[list[Piece], npt.NDArray[np.generic]]]:
    """Neighbours of one row, and their samples (rows, len(neighbours) * piece_width, channels)."""
    start = 0
    for _, neighbours in itertools.groupby(group, key=lambda piece: piece.row):
        run = list(neighbours)
        pieces = samples[start : start + len(run)]
        start += len(run)
        yield run, pieces.swapaxes(0, 1).reshape(samples.shape[1], -1, samples.shape[3])


def _place(
    array: npt.NDArray[T], piece: Piece, layout: SampleLayout, count: int = 1
) -> npt.NDArray[T]:
    """The part of an array (H, W, ...) that `count` pieces side by side cover, a view."""
    top, left = piece.row * layout.piece_height, piece.column * layout.piece_width
    right = left + count * layout.piece_width
    return array[top : top + layout.piece_height, left:right]


def _groups(directory: TiffDirectory, layout: SampleLayout, plane: int) -> Iterator[list[Piece]]:
    """The pieces of a plane, in groups of the same size, and left out or not, together."""
    size = max(1, layout.row_bytes * layout.piece_height)
    longest = max(1, GROUP_BYTES // size)
    group: list[Piece] = []
    for piece in _pieces(directory, layout, plane):
        differs = group and (
            len(group) == longest
            or bool(group[0].content) != bool(piece.content)
            or layout.rows_of_piece(group[0].row) != layout.rows_of_piece(piece.row)
        )
        if differs:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _pieces(directory: TiffDirectory, layout: SampleLayout, plane: int) -> Iterator[Piece]:
    offsets_tag, counts_tag = TILES if layout.in_tiles else STRIPS
    first = plane * layout.rows * layout.columns
    last = first + layout.rows * layout.columns
    offsets = directory.values(directory.layout[offsets_tag])[first:last].tolist()
    if len(offsets) < layout.rows * layout.columns:
        raise ValueError(f"{len(offsets)} pieces of a plane of {layout.rows * layout.columns}")
    counts = directory.layout.get(counts_tag)
    if layout.compression == UNCOMPRESSED:  # whatever lengths are stated
        lengths = [
            layout.row_bytes * layout.rows_of_piece(index // layout.columns) if offset else 0
            for index, offset in enumerate(offsets)
        ]
    elif counts is None:  # of the only piece: structure.py sees to it
        lengths = [max(0, len(directory.data) - offset) for offset in offsets]
    else:
        lengths = directory.values(counts)[first:last].tolist()
    if len(lengths) != len(offsets):
        raise ValueError(f"{len(offsets)} pieces, {len(lengths)} lengths")
    for index, (offset, length) in enumerate(zip(offsets, lengths)):
        row, column = divmod(index, layout.columns)
        content = directory.data[offset : offset + length]
        if offset or length:  # both are 0 where a piece is left out
            _check_piece(content, offset, length, layout)
        yield Piece(row, column, content)


def _check_piece(content: bytes, offset: int, length: int, layout: SampleLayout) -> None:
    """Raises ValueError for what is no piece, or the beginning of one that libtiff would take."""
    if not (offset and content):
        raise ValueError(f"a piece of {length} bytes at {offset}, where none are")
    if layout.jpeg is None:
        return  # what is cut off cannot be unpacked
    # libjpeg goes on in grey where the bytes end.
    if len(content) < length or content.find(END_MARK, content.find(START_OF_SCAN)) < 0:
        raise ValueError(f"a JPEG piece at {offset} that ends early")
