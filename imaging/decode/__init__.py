"""Bytes of an image file -> an upright 8-bit RGB image, or an error that says what is wrong."""
