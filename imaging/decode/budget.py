"""A bound on the pixels that are in memory at once, whatever the number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """At most `pixels` in all the blocks of `spend` that run at the same time, in any threads.

    Memory then follows from the pixels in flight, not from the number of cores: eight of the
    largest images are decoded two at a time, eight of a phone's all at once.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._left = pixels
        self._returned = threading.Condition()

    @contextmanager
    def spend(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` are left, and hold them until the block ends.

        An image larger than the whole budget takes all of it, alone.
        """
        pixels = min(pixels, self.pixels)
        with self._returned:
            self._returned.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._returned:
                self._left += pixels
                self._returned.notify_all()
