"""Asking a service on this machine."""

from __future__ import annotations

import io

import requests
from PIL import Image


def session() -> requests.Session:
    """HTTP without the proxies of the environment: they do not lead to this machine."""
    http = requests.Session()
    http.trust_env = False
    return http


def tiny_image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(file, "PNG")
    return file.getvalue()
