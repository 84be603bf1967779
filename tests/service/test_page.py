"""The viewer in Debian's Chromium, against a real TorchServe."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from scripts.launch import gateway
from scripts.launch.loopback import tiny_image
from scripts.launch.ports import HOST, free_ports
from tests.debian import program
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
PHOTO = encoded(photo(90, 120), "PNG")
TIMEOUT = 60  # s
CHROMIUM = [
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What the browser itself says of a response that is not 2xx, which some tests want.
STATUS_NOTE = "Failed to load resource"


@dataclass
class Viewer:
    """The page, open in a browser, and all that it said and asked for."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def show(self, content: bytes = PHOTO, name: str = "photo.png", media_type: str = PNG) -> None:
        """Choose a photo and wait for its classes."""
        self.choose(content, name, media_type)
        expect(self.page.locator("#notice")).to_contain_text("Found")

    def choose(self, content: bytes, name: str = "photo.png", media_type: str = PNG) -> None:
        file: Any = {"name": name, "mimeType": media_type, "buffer": content}
        self.page.set_input_files("#file", file)

    def pixels(self, canvas: str) -> np.ndarray:
        """RGBA (H, W, 4) of a canvas."""
        width, height, values = self.page.evaluate(
            """(id) => {
              const { width, height } = document.getElementById(id);
              const context = document.getElementById(id).getContext("2d");
              return [width, height, [...context.getImageData(0, 0, width, height).data]];
            }""",
            canvas,
        )
        return np.array(values, np.uint8).reshape(height, width, 4)

    def response(self, output: str, content: bytes = PHOTO) -> bytes:
        """What the service responses without the page."""
        response = requests.post(
            self.url, files={"image": content}, data={"output": output}, timeout=TIMEOUT
        )
        response.raise_for_status()
        return response.content

    def mask(self, content: bytes = PHOTO) -> np.ndarray:
        return np.array(Image.open(io.BytesIO(self.response("mask", content))))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def viewer(
    browser: Browser, model: RunningModel, request: pytest.FixtureRequest
) -> Iterator[Viewer]:
    """Fails a test in whose course the page broke its policy or reached beyond its origin."""
    context = browser.new_context(**getattr(request, "param", {}))
    viewer = Viewer(context.new_page(), model.url)
    page = viewer.page
    page.set_default_timeout(1000 * TIMEOUT)
    expect.set_options(timeout=1000 * TIMEOUT)
    page.on(
        "console",
        lambda said: viewer.complaints.append(said.text) if said.type == "error" else None,
    )
    page.on("pageerror", lambda error: viewer.complaints.append(str(error)))
    page.on("request", lambda sent: viewer.addresses.append(sent.url))
    page.goto(model.url)
    yield viewer
    context.close()
    assert not [text for text in viewer.complaints if not text.startswith(STATUS_NOTE)]
    origin = urlsplit(model.url)[:2]
    beyond = [url for url in viewer.addresses if not url.startswith(("data:", "blob:"))]
    assert {urlsplit(url)[:2] for url in beyond} == {origin}


def test_the_legend_says_what_the_response_says(viewer: Viewer, model: RunningModel) -> None:
    known = viewer.page.locator("#known li").all_inner_texts()
    assert known == list(model.preset.labels)
    viewer.show()
    found = json.loads(viewer.response("json"))["classes"]
    assert len(found) > 2
    for entry, row in zip(found, viewer.page.locator("#legend li").all(), strict=True):
        share, confidence = (f"{100 * entry[key]:.1f} %" for key in ("fraction", "confidence"))
        assert row.inner_text().split("\n") == [entry["label"], share, confidence]


def test_the_overlay_is_the_mask_pixel_for_pixel(viewer: Viewer, model: RunningModel) -> None:
    viewer.show()
    palette = np.array(model.preset.palette, np.uint8)
    mask, overlay = viewer.mask(), viewer.pixels("overlay")
    is_black = (palette == 0).all(axis=1)
    assert np.array_equal(overlay[..., 3] == 0, is_black[mask])  # the photo shows through
    assert np.array_equal(overlay[..., :3], palette[mask])


def test_a_class_alone_or_hidden(viewer: Viewer) -> None:
    page = viewer.page
    viewer.show()
    mask = viewer.mask()
    coloured = next(x for x in json.loads(viewer.response("json"))["classes"] if any(x["colour"]))
    isolate = page.get_by_role("button", name=f"Isolate {coloured['label']}")
    hide = page.get_by_role("button", name=f"Hide {coloured['label']}")

    isolate.click()
    expect(isolate).to_have_attribute("aria-pressed", "true")
    assert np.array_equal(viewer.pixels("overlay")[..., 3] > 0, mask == coloured["id"])
    isolate.click()
    expect(isolate).to_have_attribute("aria-pressed", "false")
    assert viewer.pixels("overlay")[..., 3][mask != 0].all()

    hide.click()
    expect(hide).to_have_attribute("aria-pressed", "true")
    assert not viewer.pixels("overlay")[..., 3][mask == coloured["id"]].any()
    page.keyboard.press("Escape")
    expect(hide).to_have_attribute("aria-pressed", "false")
    assert viewer.pixels("overlay")[..., 3][mask == coloured["id"]].all()


def test_the_slider_fades_the_overlay(viewer: Viewer) -> None:
    viewer.show()
    viewer.page.get_by_label("Overlay", exact=True).first.fill("25")
    assert viewer.page.locator("#percent").inner_text() == "25 %"
    expect(viewer.page.locator("#overlay")).to_have_css("opacity", "0.25")


def test_a_download_is_the_response_byte_for_byte(viewer: Viewer) -> None:
    viewer.show(name="a.png")
    names = {"mask": "a-mask.png", "overlay": "a-overlay.jpg", "json": "a-classes.json"}
    for output, name in names.items():
        with viewer.page.expect_download() as download:
            viewer.page.locator(f"#saves [value={output}]").click()
        assert download.value.suggested_filename == name
        assert Path(download.value.path()).read_bytes() == viewer.response(output)


def test_the_confidence_map(viewer: Viewer) -> None:
    viewer.show()
    toggle = viewer.page.get_by_role("button", name="Confidence map")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(viewer.page.locator("#scale")).to_be_visible()
    expect(viewer.page.locator("#overlay")).to_be_hidden()
    confidence = np.array(Image.open(io.BytesIO(viewer.response("confidence"))))
    assert np.array_equal(viewer.pixels("sureness")[..., 0], confidence)
    toggle.click()
    expect(viewer.page.locator("#overlay")).to_be_visible()


def test_the_class_under_the_pointer(viewer: Viewer, model: RunningModel) -> None:
    viewer.show()
    box = viewer.page.locator("#frame").bounding_box()
    assert box is not None
    mask = viewer.mask()
    for x, y in ((0.1, 0.1), (0.5, 0.9), (0.93, 0.4)):
        viewer.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        label = model.preset.labels[mask[int(y * mask.shape[0]), int(x * mask.shape[1])]]
        expect(viewer.page.locator("#chip")).to_have_text(label)
    viewer.page.mouse.move(0, 0)
    expect(viewer.page.locator("#chip")).to_be_hidden()


def test_without_a_mouse(viewer: Viewer, model: RunningModel) -> None:
    page = viewer.page
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    style = page.locator(".main").evaluate("(label) => getComputedStyle(label).outlineStyle")
    assert style == "solid"
    viewer.show()
    expect(page.locator("#notice")).to_have_role("status")

    page.keyboard.press("Tab")
    expect(page.locator("#frame")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    mask = viewer.mask()
    label = model.preset.labels[mask[int(0.52 * 90), int(0.48 * 120)]]
    expect(page.locator("#chip")).to_have_text(label)
    expect(page.locator("#chip")).to_have_role("status")

    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("#percent").inner_text() == "61 %"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    first = page.locator("#legend .only").first
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    expect(first).to_have_attribute("aria-pressed", "false")


def test_dropped_and_pasted(viewer: Viewer) -> None:
    for event, key, kind in (
        ("drop", "dataTransfer", "DragEvent"),
        ("paste", "clipboardData", "ClipboardEvent"),
    ):
        viewer.page.evaluate(
            """([bytes, event, key, kind]) => {
              const transfer = new DataTransfer();
              const type = "image/png";
              transfer.items.add(new File([new Uint8Array(bytes)], `${event}.png`, { type }));
              const options = { [key]: transfer, bubbles: true, cancelable: true };
              document.body.dispatchEvent(new window[kind](event, options));
            }""",
            [list(PHOTO), event, key, kind],
        )
        expect(viewer.page.locator("#curl")).to_contain_text(f"{event}.png")
        expect(viewer.page.locator("#notice")).to_contain_text("Found")


@pytest.mark.parametrize("shown", ["alone", "confidence", "mask"])
def test_the_curl_line_gives_what_is_on_screen(viewer: Viewer, shown: str, tmp_path: Path) -> None:
    name = 'it\'s a; "photo", $1 [2].png'
    content = PHOTO if shown != "mask" else encoded(photo(90, 120), "TIFF")
    viewer.show(content, name, PNG if shown != "mask" else "image/tiff")
    if shown == "alone":
        viewer.page.locator("#legend .only").nth(1).click()
    if shown == "confidence":
        viewer.page.locator("#confidence").click()
        expect(viewer.page.locator("#curl")).to_contain_text("output=confidence")
    (tmp_path / name).write_bytes(content)
    line = viewer.page.locator("#curl").inner_text()
    subprocess.run(
        ["sh", "-c", f"{line} --silent --fail"], cwd=tmp_path, check=True, timeout=TIMEOUT
    )
    (saved,) = set(tmp_path.iterdir()) - {tmp_path / name}

    output = "overlay" if shown == "alone" else shown
    data = {"output": output}
    if shown == "alone":
        data["classes"] = str(json.loads(viewer.response("json"))["classes"][1]["id"])
    expected = requests.post(viewer.url, files={"image": content}, data=data, timeout=TIMEOUT)
    assert saved.read_bytes() == expected.content
    assert saved.name == shlex.split(line)[-1]


@pytest.mark.parametrize(
    ("media_type", "orientation"),
    [(JPEG, 2), (JPEG, 6), (PNG, 3), (PNG, 6), (WEBP, 1), (WEBP, 3), (WEBP, 6)],
)
def test_the_photo_lies_upright_under_its_mask(
    viewer: Viewer, media_type: str, orientation: int
) -> None:
    """Or the page says why it cannot: no browser reads the orientation of every format."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = photo(90, 120)
    content = encoded(picture, media_type.removeprefix("image/").upper(), exif=exif)
    viewer.show(content, "turned", media_type)
    mask = viewer.mask(content)
    assert viewer.pixels("overlay").shape[:2] == mask.shape
    if "mask alone" in viewer.page.locator("#notice").inner_text():
        assert media_type != JPEG
        assert orientation != 1
        return
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_270,
    }
    upright = picture.transpose(turn[orientation]) if orientation in turn else picture
    shown = viewer.pixels("photo")[..., :3].astype(int)
    assert np.abs(shown - np.array(upright)).mean() < 5


def test_an_image_that_no_browser_shows(viewer: Viewer, model: RunningModel) -> None:
    content = encoded(photo(90, 120), "TIFF")
    viewer.show(content, "photo.tif", "image/tiff")
    expect(viewer.page.locator("#notice")).to_contain_text("the mask alone")
    overlay = viewer.pixels("overlay")
    assert (overlay[..., 3] == 255).all()
    palette = np.array(model.preset.palette, np.uint8)
    assert np.array_equal(overlay[..., :3], palette[viewer.mask(content)])


class TestErrors:
    def test_no_image(self, viewer: Viewer) -> None:
        viewer.choose(b"Dear diary, today", "diary.txt", "text/plain")
        expect(viewer.page.locator("#notice")).to_contain_text("JPEG, PNG, WebP")
        expect(viewer.page.locator("body")).to_have_class("failed")
        viewer.show()  # and it goes on
        expect(viewer.page.locator("body")).not_to_have_class("failed")

    def test_no_service(self, viewer: Viewer) -> None:
        viewer.page.route(viewer.url, lambda route: route.abort())
        viewer.choose(PHOTO)
        expect(viewer.page.locator("#notice")).to_contain_text("cannot be reached")
        viewer.page.unroute(viewer.url)
        viewer.page.get_by_role("button", name="Try again").click()
        expect(viewer.page.locator("#notice")).to_contain_text("Found")

    def test_a_busy_service_is_asked_again(self, viewer: Viewer) -> None:
        body = json.dumps(
            {"error": {"code": "overloaded", "message": "No room. Try again in 1 s."}}
        )
        said: list[str] = []

        def refuse_once(route: Route) -> None:
            if said:
                said.append(viewer.page.locator("#notice").inner_text())
                route.continue_()
            else:
                said.append("refused")
                route.fulfill(status=503, headers={"Retry-After": "1"}, body=body)

        viewer.page.route(viewer.url, refuse_once)
        viewer.show()
        assert said == ["refused", "The service is busy. Retrying in 1 s."]

    def test_one_that_says_no_time_is_not(self, viewer: Viewer) -> None:
        body = json.dumps({"code": 503, "type": "ServiceUnavailable", "message": "Queue is full."})
        viewer.page.route(viewer.url, lambda route: route.fulfill(status=503, body=body))
        viewer.choose(PHOTO)
        expect(viewer.page.locator("#notice")).to_have_text("Queue is full.")

    def test_who_asks(self, viewer: Viewer) -> None:
        viewer.page.route(viewer.url, lambda route: route.fulfill(status=401, body="<html>"))
        viewer.choose(PHOTO)
        expect(viewer.page.locator("#notice")).to_contain_text("reload this page to sign in")


def test_a_new_photo_ends_the_question_about_the_last(viewer: Viewer) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    viewer.page.route(viewer.url, hold_the_first)
    with viewer.page.expect_request(viewer.url):
        viewer.choose(PHOTO, "first.png")
    # The browser tells of the end when it comes to it, even after the second response is shown.
    with viewer.page.expect_event("requestfailed") as ended:
        viewer.show(encoded(photo(60, 80, seed=1), "PNG"), "second.png")
    assert ended.value.failure == "net::ERR_ABORTED"
    assert "80 \u00d7 60" in viewer.page.locator("#notice").inner_text()
    expect(viewer.page.locator("#curl")).to_contain_text("second.png")


def test_below_any_prefix(viewer: Viewer) -> None:
    origin = re.sub(r"(//[^/]+).*", r"\1", viewer.url)
    prefixed = f"{origin}/some/where/predictions/segmenter"
    asked: list[str] = []

    def forward(route: Route) -> None:
        asked.append(route.request.method)
        route.fulfill(response=route.fetch(url=viewer.url))

    viewer.page.route(prefixed, forward)
    viewer.page.goto(prefixed)
    viewer.show()
    assert asked == ["GET", "POST"]
    expect(viewer.page.locator("#curl")).to_contain_text(prefixed)


@pytest.mark.parametrize("path", ["/predictions/segmenter", "/", "/predictions/segmenter/page"])
def test_behind_the_gateway(
    browser: Browser, model: RunningModel, tmp_path: Path, path: str
) -> None:
    """Signed in once, as the browser's own form asks; the page's questions go as the same user."""
    program("nginx", "nginx")
    torchserve, port = model.service.ports.inference, free_ports().inference
    try:
        front = gateway.start(tmp_path, torchserve, tiny_image(), port, address=HOST)
        context = browser.new_context(
            ignore_https_errors=True,  # its certificate is its own
            http_credentials={"username": "me", "password": front.token},
        )
        viewer = Viewer(context.new_page(), front.predictions)
        viewer.page.goto(front.url + path)
        viewer.show()
        context.close()
    finally:
        gateway.stop(tmp_path)


@pytest.mark.parametrize("viewer", [{"viewport": {"width": 375, "height": 700}}], indirect=True)
def test_a_phone_need_not_scroll_sideways(viewer: Viewer) -> None:
    sides = "[document.documentElement.scrollWidth, innerWidth]"
    assert viewer.page.evaluate(sides) == [375, 375]
    viewer.show(name=f"{'long' * 30}.png")
    assert viewer.page.evaluate(sides) == [375, 375]


@pytest.mark.parametrize(
    "viewer", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True
)
def test_axe_finds_nothing_serious(viewer: Viewer) -> None:
    assert serious(viewer.page) == []
    viewer.show()
    viewer.page.locator("#legend .hide").first.click()
    viewer.page.locator("#frame").focus()
    viewer.page.keyboard.press("ArrowUp")
    assert serious(viewer.page) == []
    viewer.choose(b"no image")
    expect(viewer.page.locator("body")).to_have_class("failed")
    assert serious(viewer.page) == []


def serious(page: Page) -> list[str]:
    """axe-core's findings of that weight: rule and element."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html']}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
