"""Image bytes <-> pixels <-> class masks: pure functions that know no server."""

from imaging.decode.decoder import decode_image
from imaging.decode.limits import Limits
from imaging.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage
from imaging.export.overlay import overlay_jpeg
from imaging.export.png import grey_png, mask_png
from imaging.export.rle import coco_rle
from imaging.export.summary import class_summaries
from imaging.mask.class_mask import class_mask, class_mask_and_confidence
from imaging.resize import fit_size, resize

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
