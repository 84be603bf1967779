"""Photos in over HTTP, masks out: each input kind, output and error, on a real TorchServe."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from PIL import Image

from tests.photos import agreement, encoded, photo, png_header
from tests.service.conftest import VERSION, RunningModel

PHOTO = encoded(photo(75, 113), "JPEG")
B64 = base64.b64encode(PHOTO).decode()
V1 = {"instances": [{"b64": B64}]}
V2 = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [B64]}]}
CORRUPT = b"\x89PNG\r\n\x1a\n" + b"\0" * 100 + b"IEND\xaeB`\x82"
TIMEOUT = 60  # seconds: a bound against hanging, far above what a response takes


def post(model: RunningModel, path: str = "", **arguments: object) -> requests.Response:
    return requests.post(model.url + path, timeout=TIMEOUT, **arguments)  # type: ignore[arg-type]


def mask_of(response: requests.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_the_mask_over_http_is_the_one_in_process(model: RunningModel) -> None:
    response = post(model, data=PHOTO)
    picture = Image.open(io.BytesIO(response.content))
    assert response.headers["Content-Type"] == "image/png"
    assert picture.mode == "P"
    assert picture.size == (113, 75)
    assert picture.getpalette()[: 3 * len(model.preset.palette)] == [  # type: ignore[index]
        channel for colour in model.preset.palette for channel in colour
    ]
    assert np.array_equal(np.asarray(picture), model.mask_in_process(PHOTO))
    assert len(np.unique(np.asarray(picture))) > 1, "the photo must show more than one class"


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": PHOTO},
        {"data": PHOTO, "headers": {"Content-Type": "image/jpeg"}},
        {"data": PHOTO, "headers": {"Content-Type": "application/octet-stream"}},
        {"data": iter([PHOTO[:1000], PHOTO[1000:]])},  # chunked
        {"files": {"image": ("photo.jpg", PHOTO, "image/jpeg")}},
        {"files": {"anything": ("photo.jpg", PHOTO)}},
        {"files": {"data": PHOTO}, "data": {"output": "mask"}},
        {"json": {"image": B64}},
        {"json": {"image": "data:image/jpeg;base64," + B64}},
        {"json": V1, "headers": {"Accept": "image/png"}},
        {"json": V2, "headers": {"Accept": "image/png"}},
        {"json": {**V1, "output": "mask"}},
    ],
    ids=[
        "body",
        "body-typed",
        "octet-stream",
        "chunked",
        "multipart",
        "multipart-other-name",
        "multipart-with-option",
        "json",
        "json-data-url",
        "kserve-v1",
        "open-inference-v2",
        "kserve-v1-named",
    ],
)
def test_every_input_kind_gives_the_same_mask(
    model: RunningModel, arguments: dict[str, object]
) -> None:
    assert np.array_equal(mask_of(post(model, "", **arguments)), model.mask_in_process(PHOTO))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"])
def test_every_format_is_read(model: RunningModel, image_format: str) -> None:
    data = encoded(photo(75, 113), image_format)
    assert np.array_equal(mask_of(post(model, data=data)), model.mask_in_process(data))


def test_kserve_paths_response_in_their_own_protocol(model: RunningModel) -> None:
    host = model.url.split("/predictions/")[0]
    expected = model.mask_in_process(PHOTO)
    v1 = requests.post(host + "/v1/models/segmenter:predict", json=V1, timeout=TIMEOUT)
    (prediction,) = v1.json()["predictions"]
    mask = Image.open(io.BytesIO(base64.b64decode(prediction["mask"]["b64"])))
    assert np.array_equal(np.asarray(mask), expected)

    document = {"id": "no \u00e9 of ours\r\n", **V2}
    v2 = requests.post(host + "/v2/models/segmenter/infer", json=document, timeout=TIMEOUT)
    (tensor,) = v2.json()["outputs"]
    assert v2.json()["id"] == document["id"]
    assert (tensor["name"], tensor["datatype"]) == ("mask", "UINT8")
    assert np.array_equal(np.reshape(tensor["data"], tensor["shape"])[0], expected)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("mask", "image/png"),
        ("overlay", "image/jpeg"),
        ("json", "application/json"),
        ("confidence", "image/png"),
        ("npy", "application/x-npy"),
    ],
)
def test_every_output_by_path_by_field_and_by_accept(
    model: RunningModel, name: str, media_type: str
) -> None:
    by_path = post(model, f"/{VERSION}/{name}", data=PHOTO)
    assert by_path.status_code == 200, by_path.text
    assert by_path.headers["Content-Type"] == media_type
    by_field = post(model, files={"image": PHOTO}, data={"output": name})
    assert by_field.content == by_path.content
    if name != "confidence":  # a second PNG: `Accept: image/png` means the mask
        by_accept = post(model, data=PHOTO, headers={"Accept": media_type})
        assert by_accept.content == by_path.content
    invoke = model.url.replace("/predictions/segmenter", "/models/segmenter/invoke")
    by_query = requests.post(
        f"{invoke}?output={name}",
        data=PHOTO,
        headers={"Content-Type": "image/jpeg"},
        timeout=TIMEOUT,
    )
    assert by_query.content == by_path.content


def test_the_outputs_agree_with_each_other(model: RunningModel) -> None:
    mask = mask_of(post(model, data=PHOTO))
    array = np.load(io.BytesIO(post(model, f"/{VERSION}/npy", data=PHOTO).content))
    assert array.dtype == np.uint8
    assert np.array_equal(array, mask)

    confidence = mask_of(post(model, f"/{VERSION}/confidence", data=PHOTO))
    assert confidence.shape == mask.shape

    overlay = Image.open(io.BytesIO(post(model, f"/{VERSION}/overlay", data=PHOTO).content))
    assert (overlay.format, overlay.size) == ("JPEG", (113, 75))

    response = post(model, f"/{VERSION}/json", data=PHOTO).json()
    assert response["size"] == {"width": 113, "height": 75}
    assert response["model"]["name"] == model.preset.name
    assert sum(entry["pixels"] for entry in response["classes"]) == mask.size
    for entry in response["classes"]:
        here = mask == entry["id"]
        assert entry["label"] == model.preset.labels[entry["id"]]
        assert entry["pixels"] == here.sum()
        assert entry["confidence"] == pytest.approx(confidence[here].mean() / 255)


def test_exif_orientation_is_respected(model: RunningModel) -> None:
    picture = photo(75, 113)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side; upright it is 75 wide
    upright = picture.transpose(Image.Transpose.ROTATE_270)
    turned = mask_of(post(model, data=encoded(picture, "PNG", exif=exif)))
    assert turned.shape == (113, 75)
    assert np.array_equal(turned, model.mask_in_process(encoded(upright, "PNG")))


@pytest.mark.parametrize(
    ("path", "arguments", "status", "code"),
    [
        ("", {"data": b"", "headers": {"Accept": "image/png"}}, 400, "image_empty"),
        ("", {"data": PHOTO[: len(PHOTO) // 2]}, 400, "image_truncated"),
        ("", {"data": CORRUPT}, 400, "image_corrupt"),
        ("", {"json": {"picture": B64}}, 400, "image_missing"),
        ("", {"json": {"image": "no base64!"}}, 400, "invalid_base64"),
        ("", {"files": {"a": PHOTO, "b": PHOTO}}, 400, "one_image_per_request"),
        (
            "",
            {"data": b"{nonsense", "headers": {"Content-Type": "application/json"}},
            400,
            "invalid_json",
        ),
        (f"/{VERSION}/hologram", {"data": PHOTO}, 400, "unknown_output"),
        ("", {"data": PHOTO, "headers": {"Accept": "video/mp4"}}, 406, "not_acceptable"),
        ("", {"data": png_header(60_000, 60_000)}, 413, "image_too_large"),
        ("", {"data": png_header(8_000, 8_000)}, 413, "image_too_large"),
        ("", {"data": PHOTO + b"\0" * (32 * 2**20)}, 413, "image_too_many_bytes"),
        ("", {"data": b"just a text file\n"}, 415, "unsupported_format"),
        (
            "",
            {"data": "just text", "headers": {"Content-Type": "text/plain"}},
            415,
            "unsupported_format",
        ),
        ("", {"data": b"%PDF-1.7 and so on"}, 415, "unsupported_format"),
    ],
)
def test_the_error_table(
    model: RunningModel, path: str, arguments: dict[str, object], status: int, code: str
) -> None:
    response = post(model, path, **arguments)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")
    for trace in ("Traceback", "Error(", " at 0x", ".py"):
        assert trace not in response.text


def test_every_response_is_signed(model: RunningModel) -> None:
    for data in (PHOTO, b"no image"):
        headers = post(model, data=data).headers
        assert headers["Model-Name"] == model.preset.name
        assert headers["Model-Version"] == VERSION
        assert headers["Model-Digest"] == model.digest
        assert "decode;dur=" in headers["Server-Timing"]


def test_a_browser_gets_the_page(model: RunningModel) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
    response = requests.get(model.url, headers={"Accept": accept}, timeout=TIMEOUT)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert b"Content-Security-Policy" in response.content


def test_describe_is_the_model_card(model: RunningModel) -> None:
    response = requests.get(
        f"{model.management_url}/models/segmenter?customized=true", timeout=TIMEOUT
    )
    card = response.json()[0]["customizedMetadata"]
    card = json.loads(card) if isinstance(card, str) else card
    assert [entry["label"] for entry in card["classes"]] == list(model.preset.labels)
    assert model.digest in json.dumps(card)


def test_a_describe_header_from_a_client_changes_nothing(model: RunningModel) -> None:
    headers = {"describe": "True", "explain": "True"}
    assert np.array_equal(
        mask_of(post(model, data=PHOTO, headers=headers)), model.mask_in_process(PHOTO)
    )


def test_clients_at_once_each_get_their_own_response(model: RunningModel) -> None:
    bodies = []
    for seed in range(24):
        body = encoded(photo(60 + 5 * (seed % 3), 90, seed), "PNG")
        bodies.append(body if seed % 4 else body[:200])
    with ThreadPoolExecutor(12) as clients:
        responses = list(clients.map(lambda body: post(model, data=body), bodies))
    for seed, (body, response) in enumerate(zip(bodies, responses, strict=True)):
        if seed % 4:
            assert agreement(mask_of(response), model.mask_in_process(body)) > 0.98
        else:
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "image_truncated"


def test_the_engine_drops_the_query_of_a_prediction(model: RunningModel) -> None:
    """docs/formats.md says so; the gateway sends it along."""
    response = post(model, "?classes=unicorn&output=json", data=PHOTO)
    assert np.array_equal(mask_of(response), model.mask_in_process(PHOTO))
    invoke = model.url.replace("/predictions/segmenter", "/models/segmenter/invoke")
    headers = {"Content-Type": "image/jpeg"}
    url = f"{invoke}?treshold=0.5"
    refused = requests.post(url, data=PHOTO, headers=headers, timeout=TIMEOUT)
    assert refused.json()["error"]["code"] == "unknown_name"


def test_the_engine_shows_the_last_of_two_parts_of_one_name(model: RunningModel) -> None:
    files = [("image", b"no photo"), ("image", PHOTO)]
    assert np.array_equal(mask_of(post(model, files=files)), model.mask_in_process(PHOTO))


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (B64.encode(), {"Content-Type": "text/plain"}, "undeclared_base64"),
        (json.dumps(V1).encode(), {"Content-Type": "text/plain"}, "undeclared_json"),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + PHOTO + b"\r\n--x--",
            {"Content-Type": "multipart/form-data"},
            "undeclared_form",
        ),
        (PHOTO, {"Content-Encoding": "br", "Content-Type": "image/jpeg"}, "unsupported_encoding"),
    ],
)
def test_what_is_sent_wrongly_is_named(
    model: RunningModel, body: bytes, headers: dict[str, str], code: str
) -> None:
    response = post(model, data=body, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, code)
    form = post(model, files={"image": B64})
    assert (form.status_code, form.json()["error"]["code"]) == (415, "undeclared_base64")


def test_a_name_in_the_document_other_than_the_addresss(model: RunningModel) -> None:
    url = model.url.replace("/predictions/segmenter", "/v2/models/segmenter/infer")
    document = {**V2, "model_name": "voc-resnet50", "model_version": "9"}
    response = requests.post(url, json=document, timeout=TIMEOUT)
    assert response.json()["outputs"][0]["shape"] == [1, 75, 113]


def test_errors_in_kserves_protocols(model: RunningModel) -> None:
    host = model.url.split("/predictions/")[0]
    v2 = requests.post(
        host + "/v2/models/segmenter/infer",
        json={"inputs": [{**V2["inputs"][0], "data": ["?"]}]},
        timeout=TIMEOUT,
    )
    v1 = requests.post(
        host + "/v1/models/segmenter:predict", json={"instances": [{}]}, timeout=TIMEOUT
    )
    assert v2.json()["error"].startswith("invalid_base64: ")
    assert v1.json()["error"].startswith("image_missing: ")
