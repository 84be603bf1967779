"""A segmentation as one picture: the photo with its classes blended in, and their legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from PIL import Image, ImageDraw, ImageFont

# Of the picture in a notebook, whose column is about as wide. Px, as all that follows.
MAX_SIDE: Final = 900
ROW_HEIGHT: Final = 22
SWATCH_SIDE: Final = 14
MARGIN: Final = 10
FONT_SIZE: Final = 14

MAX_ROWS: Final = 20  # further classes are traces of some pixels

VOID: Final = "void"  # the label of pixels without a class, which the overlay leaves as they are


class LegendEntry(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def colour(self) -> tuple[int, int, int]: ...  # RGB, 0..255
    @property
    def fraction(self) -> float: ...  # of the image, 0..1


def with_legend(overlay: Image.Image, classes: Sequence[LegendEntry]) -> Image.Image:
    """RGB: the overlay, at most MAX_SIDE px long, and right of it the classes in their order.

    Each has a swatch in its colour, hollow for void, its label and its share of the image.
    """
    photo = overlay.copy()
    photo.thumbnail((MAX_SIDE, MAX_SIDE))
    font = ImageFont.load_default(FONT_SIZE)
    shown, rest = classes[:MAX_ROWS], classes[MAX_ROWS:]
    rows = [f"{entry.label}  {percentage(entry.fraction)}" for entry in shown]
    if rest:
        rows.append(f"and {len(rest)} more  {percentage(sum(entry.fraction for entry in rest))}")
    text_left = photo.width + 2 * MARGIN + SWATCH_SIDE
    width = text_left + round(max(map(font.getlength, rows), default=0)) + MARGIN
    height = max(photo.height, len(rows) * ROW_HEIGHT + MARGIN)
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(photo)
    draw = ImageDraw.Draw(picture)
    for index, row in enumerate(rows):
        middle = MARGIN // 2 + index * ROW_HEIGHT + ROW_HEIGHT // 2
        if index < len(shown):
            left, top = photo.width + MARGIN, middle - SWATCH_SIDE // 2
            box = (left, top, left + SWATCH_SIDE - 1, top + SWATCH_SIDE - 1)
            fill = None if shown[index].label == VOID else shown[index].colour
            draw.rectangle(box, fill=fill, outline="grey")
        draw.text((text_left, middle), row, "black", font, anchor="lm")
    return picture


def percentage(fraction: float) -> str:
    """A class that is there never has 0.0 %."""
    return f"{fraction:.1%}" if fraction >= 0.001 else "< 0.1%"
