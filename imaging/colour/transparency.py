"""Transparent pixels: shown as on a white page."""

from __future__ import annotations

from PIL import Image

# Pillow's modes with transparency of their own -> those that it converts from them.
LAYERS = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """An image of any mode -> the same without transparency, and its opacity, or None.

    Where all is transparent, and there are colours nevertheless, they are what was meant: game
    engines and clipboards leave the channel empty.
    """
    if not image.has_transparency_data:
        return image, None
    layer = image.convert(LAYERS.get(image.mode) or ("LA" if image.mode in "1L" else "RGBA"))
    alpha = layer.getchannel("A")
    colours = layer.getchannel("L") if layer.mode == "LA" else layer.convert("RGB")
    if alpha.getextrema()[1] == 0 and _varies(colours):
        return colours, None
    return colours, alpha


def over_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """A transparent pixel may have any colour in its file; people saw it on a white page."""
    if alpha is None:
        return rgb
    page = Image.new("RGB", rgb.size, "white")
    page.paste(rgb, mask=alpha)
    return page


def _varies(colours: Image.Image) -> bool:
    bands = colours.split()
    return any(low != high for low, high in (band.getextrema() for band in bands))
