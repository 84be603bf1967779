"""The page that a browser gets from the model's own address: drop a photo, see its classes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from model.preset import Preset
from serving.response.answer import Answer

PAGE = "page"
PAGE_MEDIA_TYPE = "text/html"
TEMPLATE = Path(__file__).with_name("viewer.html")

# Elements whose text the browser runs or applies: what the policy must name by its hash.
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_answer(preset: Preset) -> Answer:
    return Answer(200, f"{PAGE_MEDIA_TYPE}; charset=utf-8", page_html(preset))


def page_html(preset: Preset) -> bytes:
    """The viewer, complete in itself, with the preset's classes as its legend."""
    template = TEMPLATE.read_text(encoding="utf-8")
    classes = [
        {"label": label, "colour": list(colour)}
        for label, colour in zip(preset.labels, preset.palette)
    ]
    html = template.replace("%POLICY%", content_security_policy(template))
    return html.replace("%CLASSES%", script_safe_json(classes)).encode("utf-8")


def content_security_policy(html: str) -> str:
    """Nothing runs or applies but what `html` itself holds, and it talks to its own origin alone.

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
