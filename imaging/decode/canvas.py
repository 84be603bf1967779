"""The canvas of an animation, of which the first frame may cover a part."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Canvas:
    """A canvas, and the part of it that the first frame covers."""

    size: tuple[int, int]  # (width, height) px
    box: tuple[int, int, int, int]  # left, top, right, bottom px

    @property
    def is_valid(self) -> bool:
        left, top, right, bottom = self.box
        width, height = self.size
        return 0 <= left < right <= width and 0 <= top < bottom <= height

    def lay_out(self, rgb: Image.Image) -> Image.Image:
        """The frame, or the canvas with the frame on it -> the canvas, white where no frame is."""
        if self.box == (0, 0, *self.size) or not self.is_valid:
            return rgb
        frame = rgb.crop(self.box) if rgb.size == self.size else rgb
        page = Image.new("RGB", self.size, "white")
        page.paste(frame, self.box)
        return page
