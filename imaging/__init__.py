"""Image bytes <-> pixels <-> class masks: pure functions that know no server."""

from imaging.decode import Limits, decode_image
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage
from imaging.mask import class_mask, class_mask_and_confidence
from imaging.overlay import overlay_jpeg
from imaging.png import grey_png, mask_png
from imaging.resize import fit_size, resize
from imaging.rle import coco_rle
from imaging.summary import class_summaries

__all__ = [
    "ImageError",
    "ImageTooLarge",
    "Limits",
    "UnreadableImage",
    "UnsupportedImage",
    "class_mask",
    "class_mask_and_confidence",
    "class_summaries",
    "coco_rle",
    "decode_image",
    "fit_size",
    "grey_png",
    "mask_png",
    "overlay_jpeg",
    "resize",
]
