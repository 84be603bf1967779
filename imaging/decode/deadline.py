"""A file that stops being readable when its time is up.

A thread cannot be stopped from outside, but Pillow reads a file in small pieces. Between any two of
them lie the loops that a hostile file can prolong: over chunks, segments, comments, directory
entries, and over the 64 kB at a time that Pillow hands to a decoder.
"""

from __future__ import annotations

import io
import time

from imaging.errors import ImageTooLarge


class Deadline:
    """The end of `seconds` of CPU time of the thread that creates it.

    CPU time, so that a busy machine refuses no honest image.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.thread_time() + seconds

    def check(self) -> None:
        """Raises ImageTooLarge once the time is up."""
        if time.thread_time() > self.end:
            raise ImageTooLarge(
                "image_too_slow",
                f"The image takes more than {self.seconds:g} s to decode. "
                "Save it again as plain JPEG or PNG, or scale it down.",
                max_seconds=self.seconds,
            )


class TimedFile(io.BytesIO):
    """`data`, readable for `seconds` of CPU time. `read` raises ImageTooLarge."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)  # shares the bytes
        self.deadline = Deadline(seconds)

    def read(self, size: int | None = -1, /) -> bytes:
        self.deadline.check()
        return super().read(size)
