"""What a JPEG is packed by."""

from __future__ import annotations

import re
from typing import Final

# SOF9 to SOF15, of 8 bits a sample and up to four components (ITU-T T.81, table B.1). Nothing else
# in a JPEG looks so: in its pixels no marker follows FF.
ARITHMETIC: Final = re.compile(rb"\xff[\xc9-\xcb\xcd-\xcf]\0[\x0b\x0e\x11\x14]\x08")


def is_arithmetic(data: bytes) -> bool:
    """Whether pixels are in arithmetic coding, of which a few bytes may be any number of them.

    At its end libjpeg's decoder is fed zeros for as long as it asks, which no error ends: a file of
    1 kB of 50 megapixels would be decoded for minutes. Hardly any program writes it, and Pillow
    reads no such file beyond 64 kB.
    """
    return ARITHMETIC.search(data) is not None
