"""AVIF and HEIC: pictures of video codecs in boxes."""
