"""Every form of response over HTTP: what its consumer reads of it is the PNG mask."""

from __future__ import annotations

import base64
import io
import json
from functools import cache

import numpy as np
import pytest
import requests
from PIL import Image

from scripts.common.street import draw_street
from serving.label_map import void_id
from serving.wire import INFERENCE_HEADER_LENGTH
from tests.consumers import READERS
from tests.photos import encoded, photo
from tests.service.conftest import VERSION, RunningModel

# pycocotools' decode predates NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TIMEOUT = 60  # seconds: a bound against hanging, far above what a response takes

PHOTOS = {
    "street": encoded(draw_street(), "PNG"),
    "colours": encoded(photo(75, 113), "JPEG"),
    "upright": encoded(photo(300, 200, seed=4), "WebP"),
}
SMALL = PHOTOS["colours"]
SMALL_BASE64 = base64.b64encode(SMALL).decode()

POLYGONS = ("coco-polygons", "geojson")


def post(model: RunningModel, path: str = "", **arguments: object) -> requests.Response:
    response = requests.post(model.url + path, timeout=TIMEOUT, **arguments)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    return response


@cache
def mask_of(url: str, name: str) -> np.ndarray:
    response = requests.post(f"{url}/{VERSION}/mask", data=PHOTOS[name], timeout=TIMEOUT)
    return np.asarray(Image.open(io.BytesIO(response.content)))


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("output", READERS)
def test_its_consumer_reads_the_mask(model: RunningModel, output: str, name: str) -> None:
    expected = mask_of(model.url, name)
    body = post(model, f"/{VERSION}/{output}", data=PHOTOS[name]).content
    read = READERS[output](body, model.preset, expected.shape)
    if output not in POLYGONS:
        np.testing.assert_array_equal(read, expected)
        return
    for index in np.unique(expected):
        ours, theirs = read == index, expected == index
        assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.99


OPTIONS = {"classes": "wall, 1", "threshold": "0.3"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"files": {"image": SMALL}, "data": OPTIONS},
        {"json": {"image": SMALL_BASE64, "classes": ["wall", 1], "threshold": 0.3}},
        {
            "json": {
                "image": SMALL_BASE64,
                "parameters": {"classes": "1,wall", "threshold": "0.3"},
            }
        },
        {
            "data": SMALL,
            "headers": {"X-Segmenter-Classes": "water,wall", "x-segmenter-threshold": ".3"},
        },
    ],
    ids=["form", "json", "json-parameters", "headers"],
)
def test_options_by_every_way(model: RunningModel, arguments: dict[str, object]) -> None:
    whole = mask_of(model.url, "colours")
    response = post(model, f"/{VERSION}/confidence", data=SMALL)
    confidence = np.asarray(Image.open(io.BytesIO(response.content)))
    void = void_id(model.preset.labels)
    is_kept = np.isin(whole, [1, 2]) & (confidence >= 0.3 * 255)
    assert is_kept.any()
    assert not is_kept.all()
    mask = np.asarray(Image.open(io.BytesIO(post(model, "", **arguments).content)))
    np.testing.assert_array_equal(mask, np.where(is_kept, whole, void))


@pytest.mark.parametrize(
    ("headers", "code", "shown"),
    [
        ({"X-Segmenter-Classes": "wall,tram"}, "unknown_class", "tram"),
        ({"X-Segmenter-Threshold": "50%"}, "invalid_threshold", "50%"),
    ],
)
def test_bad_options_are_named(
    model: RunningModel, headers: dict[str, str], code: str, shown: str
) -> None:
    response = requests.post(model.url, data=SMALL, headers=headers, timeout=TIMEOUT)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert shown in response.json()["error"]["message"]


def test_too_much_text_is_refused(model: RunningModel) -> None:
    large = encoded(Image.new("RGB", (2500, 2000)), "PNG")
    response = requests.post(f"{model.url}/{VERSION}/legacy", data=large, timeout=TIMEOUT)
    assert response.status_code == 413
    error = response.json()["error"]
    assert (error["code"], error["pixels"]) == ("answer_too_large", 5_000_000)


def test_open_inference_with_binary_tensors(model: RunningModel) -> None:
    """As Triton's clients send and read them; TorchServe passes the header on both ways."""
    element = len(SMALL).to_bytes(4, "little") + SMALL
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(element)},
    }
    document = json.dumps(
        {"id": "a", "inputs": [tensor], "parameters": {"binary_data_output": True}}
    ).encode()
    response = requests.post(
        model.url.split("/predictions/")[0] + "/v2/models/segmenter/infer",
        data=document + element,
        headers={
            INFERENCE_HEADER_LENGTH: str(len(document)),
            "Content-Type": "application/octet-stream",
        },
        timeout=TIMEOUT,
    )
    assert response.status_code == 200, response.text
    length = int(response.headers[INFERENCE_HEADER_LENGTH])
    header = json.loads(response.content[:length])
    (mask,) = header["outputs"]
    assert header["id"] == "a"
    assert mask["parameters"] == {"binary_data_size": len(response.content) - length}
    np.testing.assert_array_equal(
        np.frombuffer(response.content[length:], np.uint8).reshape(mask["shape"])[0],
        mask_of(model.url, "colours"),
    )


def test_hugging_face_requests_get_its_response(model: RunningModel) -> None:
    body = post(model, json={"inputs": SMALL_BASE64, "parameters": {"threshold": 0}}).content
    expected = mask_of(model.url, "colours")
    read = READERS["huggingface"](body, model.preset, expected.shape)
    np.testing.assert_array_equal(read, expected)


def test_sagemaker_invocations(model: RunningModel) -> None:
    response = requests.post(
        model.url.split("/predictions/")[0] + "/invocations",
        data=SMALL,
        headers={"Content-Type": "image/jpeg", "Accept": "image/png"},
        timeout=TIMEOUT,
    )
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "image/png"
    mask = np.asarray(Image.open(io.BytesIO(response.content)))
    np.testing.assert_array_equal(mask, mask_of(model.url, "colours"))
