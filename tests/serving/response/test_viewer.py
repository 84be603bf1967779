from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from model.preset import Preset
from serving.response.viewer import viewer_html, viewer_response


class Page(HTMLParser):
    """The page as a browser takes it apart: attributes, and the text of scripts and styles."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: defaultdict[str, list[str]] = defaultdict(list)
        self.feed(html.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        kind = "data" if attributes.get("type") == "application/json" else tag
        if tag in ("script", "style") and data.strip():
            self.texts[kind].append(data)

    def policy(self) -> dict[str, list[str]]:
        (content,) = [
            attributes["content"]
            for _, attributes in self.elements
            if attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        directives = (directive.split() for directive in (content or "").split(";"))
        return {name: sources for name, *sources in directives}


@pytest.fixture
def page(preset: Preset) -> Page:
    return Page(viewer_html(preset))


def test_small_html(preset: Preset) -> None:
    response = viewer_response(preset)
    assert (response.status, response.content_type) == (200, "text/html; charset=utf-8")
    assert response.body.startswith(b"<!DOCTYPE html>")
    assert len(response.body) < 40_000


@pytest.mark.parametrize("kind", ["script", "style"])
def test_the_policy_lets_in_what_the_page_holds_and_nothing_else(page: Page, kind: str) -> None:
    (text,) = page.texts[kind]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert page.policy()[f"{kind}-src"] == [f"'sha256-{digest}'"]


def test_the_policy_is_strict(page: Page) -> None:
    policy = page.policy()
    assert policy["default-src"] == ["'none'"]
    assert policy["connect-src"] == ["'self'"]
    assert not [source for sources in policy.values() for source in sources if "unsafe" in source]


def test_nothing_in_the_page_needs_more_than_the_policy_allows(page: Page) -> None:
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    assert not re.search(r"https?://", "".join(page.texts["script"] + page.texts["style"]))
    linked = [attributes.get("src") or attributes.get("href") for _, attributes in page.elements]
    assert [link for link in linked if link] == ["data:,"]


def test_legend_of_all_classes(page: Page, preset: Preset) -> None:
    (text,) = page.texts["data"]
    assert json.loads(text) == [
        {"label": label, "colour": list(colour)}
        for label, colour in zip(preset.labels, preset.palette, strict=True)
    ]


def test_a_label_cannot_leave_its_place(preset: Preset) -> None:
    labels = ("</script><script>alert(1)</script>", "<!--", "%POLICY%%CLASSES%")
    page = Page(viewer_html(replace(preset, labels=labels)))
    assert [entry["label"] for entry in json.loads(page.texts["data"][0])] == list(labels)
    assert len(page.texts["script"]) == 1


def test_addresses(preset: Preset) -> None:
    """The page's own expression, run here: photos go to the address that the page came from."""
    script = viewer_html(preset).decode()
    found = re.search(r'location\.pathname\.replace\(/(.+)/, "\$1"\)', script)
    assert found is not None
    pattern = found[1].replace(r"\/", "/")
    for path, api in {
        "/predictions/segmenter": "/predictions/segmenter",
        "/predictions/segmenter/1.0": "/predictions/segmenter/1.0",
        "/predictions/segmenter/1.0/page": "/predictions/segmenter/1.0",
        "/predictions/segmenter/1.0/page/": "/predictions/segmenter/1.0",
        "/behind/a/gateway/predictions/segmenter/1.0/page": (
            "/behind/a/gateway/predictions/segmenter/1.0"
        ),
        "/predictions/segmenter/page": "/predictions/segmenter",
        "/predictions/page": "/predictions/page",
        "/models/segmenter/invoke": "/models/segmenter/invoke",
    }.items():
        assert re.sub(pattern, r"\1", path) == api
    found = re.search(r"isHome = /(.+)/\.test", script)
    assert found is not None
    home = re.compile(found[1].replace(r"\/", "/"))
    assert [bool(home.search(path)) for path in ("/", "/a/")] == [True, True]
    for path in ("/predictions/segmenter/", "/models/segmenter/invoke", "/predictions/segmenter"):
        assert not home.search(path)
