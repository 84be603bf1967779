"""What is wrong with an image, in terms that its client can act on.

ImageError
├── UnreadableImage   HTTP 400: empty, truncated, corrupt
├── ImageTooLarge     HTTP 413: beyond a limit, each of which has its own code
└── UnsupportedImage  HTTP 415: not an image format that is read
"""

from __future__ import annotations


class ImageError(ValueError):
    """An image that cannot be used.

    `code` is stable and in snake_case. `message` is ASCII and says what is wrong, with which value,
    and what to do. `details` are JSON-ready. None of them quotes the bytes or another exception.
    """

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class UnreadableImage(ImageError):
    """The bytes are missing, end early or contradict themselves."""


class ImageTooLarge(ImageError):
    """Bytes, pixels, a side, frames or the time to decode exceed what one image may have."""


class UnsupportedImage(ImageError):
    """The bytes are no image in a format that is read."""
