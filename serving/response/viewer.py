"""The viewer: the page that a browser gets at the prediction URL: drop a photo, see its classes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from model.preset import Preset
from serving.types import Response
from serving.wire import PAGE_MEDIA_TYPE

TEMPLATE = Path(__file__).with_name("viewer.html")

# Elements whose text the browser executes: the policy must name each by its hash.
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def viewer_response(preset: Preset) -> Response:
    return Response(200, f"{PAGE_MEDIA_TYPE}; charset=utf-8", viewer_html(preset))


def viewer_html(preset: Preset) -> bytes:
    """One self-contained page, with the preset's classes as its legend."""
    template = TEMPLATE.read_text(encoding="utf-8")
    classes = [
        {"label": label, "colour": list(colour)}
        for label, colour in zip(preset.labels, preset.palette)
    ]
    html = template.replace("%POLICY%", content_security_policy(template))
    return html.replace("%CLASSES%", script_safe_json(classes)).encode("utf-8")


def content_security_policy(html: str) -> str:
    """Only the scripts and styles in `html` run, and only its own origin can be reached.

    https://www.w3.org/TR/CSP3/#framework-directive-source-list has the hashes' form.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for element, text in INLINE.findall(html):
        digest = hashlib.sha256(text.encode("utf-8")).digest()
        hashes[element].append(f"'sha256-{base64.b64encode(digest).decode('ascii')}'")
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def script_safe_json(value: object) -> str:
    """JSON that may stand inside a script element: no "<" can end it or open a comment."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
