"""A picture in a terminal: two pixels a character, in 24-bit colour."""

from __future__ import annotations

import numpy as np
from PIL import Image

UPPER_HALF = "\u2580"
RESET = "\x1b[0m"


def half_blocks(picture: Image.Image, columns: int, lines: int) -> str:
    """The picture as large as fits; nearest pixels, so that no colour is mixed.

    The foreground of a character is its upper pixel, the background its lower one. Sequences:
    ISO 8613-6, as in https://en.wikipedia.org/wiki/ANSI_escape_code#24-bit
    """
    scale = min(columns / picture.width, 2 * lines / picture.height, 1.0)
    width = max(1, round(picture.width * scale))
    height = max(2, 2 * round(picture.height * scale / 2))
    small = picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
    pixels = np.asarray(small).tolist()
    return "\n".join(
        "".join(_character(*pair) for pair in zip(upper, lower)) + RESET
        for upper, lower in zip(pixels[0::2], pixels[1::2])
    )


def _character(upper: list[int], lower: list[int]) -> str:
    above, below = (";".join(map(str, colour)) for colour in (upper, lower))
    return f"\x1b[38;2;{above};48;2;{below}m{UPPER_HALF}"
