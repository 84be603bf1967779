"""What a JPEG's pixels are packed by, wherever it stands: in a file of its own, or in a TIFF."""

from __future__ import annotations

import re
from typing import Final

# The marker, and the high byte of a length that is always below 256. Every scan walks the whole
# picture; ordinary ones have one, progressive ones about ten.
START_OF_SCAN: Final = b"\xff\xda\0"

# SOF9 to SOF15 of one to ten components, of 8 or 12 bits a sample (ITU-T T.81, table B.1): marker,
# length, bits, height and width, components, of which the length is a function. In pixels no marker
# follows FF; elsewhere bytes look so by chance once in a million megabytes.
ARITHMETIC: Final = re.compile(
    rb"\xff[\xc9-\xcb\xcd-\xcf]\0(?:"
    + b"|".join(
        re.escape(bytes([8 + 3 * count])) + rb"[\x08\x0c].{4}" + re.escape(bytes([count]))
        for count in range(1, 11)
    )
    + rb")",
    re.DOTALL,
)


def is_arithmetic(data: bytes) -> bool:
    """Whether pixels are in arithmetic coding, of which a few bytes may be any number of them.

    At its end libjpeg's decoder is fed zeros for as long as it asks, which no error ends: 5 kB are
    an image of 49 megapixels, however long that takes. Hardly any program writes it, and Pillow
    reads no such file beyond 64 kB.
    """
    return ARITHMETIC.search(data) is not None
