"""What is left of the limits for images that share them, read one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from imaging.decode.limits import Limits


class Allowance:
    """The limits of one image, for several together: bytes, pixels, seconds. For one thread."""

    def __init__(self, limits: Limits) -> None:
        self.left = limits
        self.pixels = 0  # read so far

    @contextmanager
    def spend(self, num_bytes: int) -> Iterator[Limits]:
        """What is left for an image that is read in the block, whose bytes and time then are not.

        Seconds are of the thread's CPU time, as for one image.
        """
        started = time.thread_time()
        try:
            yield self.left
        finally:
            left, seconds = self.left, time.thread_time() - started
            self.left = replace(
                left,
                max_bytes=max(0, left.max_bytes - num_bytes),
                max_seconds=max(0.0, left.max_seconds - seconds),
            )

    def spend_pixels(self, pixels: int) -> None:
        self.pixels += pixels
        self.left = replace(self.left, max_pixels=max(0, self.left.max_pixels - pixels))
