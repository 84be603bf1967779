"""Colours of any space, depth and transparency -> 8-bit sRGB."""
