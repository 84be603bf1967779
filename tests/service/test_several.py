"""Several images and several formats over HTTP: every result is what it is alone."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import numpy as np
import pytest
import requests

from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

TIMEOUT = 60  # seconds: a bound against hanging, far above what a response takes

PHOTOS = [encoded(photo(75, 113), "JPEG"), encoded(photo(60, 50, 2), "PNG")]
BROKEN = PHOTOS[1][:100]


def post(model: RunningModel, **arguments: object) -> requests.Response:
    response = requests.post(model.url, timeout=TIMEOUT, **arguments)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    return response


def alone(model: RunningModel, image: bytes, output: str) -> bytes:
    headers = {"X-Segmenter-Output": output}
    return requests.post(model.url, data=image, headers=headers, timeout=TIMEOUT).content


def files_in(response: requests.Response) -> dict[str, bytes]:
    assert response.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("way", ["form", "header", "accept"])
def test_several_formats(model: RunningModel, way: str) -> None:
    name, outputs = "Straße 1.jpg", "mask,overlay,json"
    if way == "form":
        response = post(model, files={"image": PHOTOS[0]}, data={"output": outputs, "name": name})
    else:
        headers = {"X-Segmenter-Name": "Stra%C3%9Fe%201.jpg"}
        if way == "header":
            headers["X-Segmenter-Output"] = outputs
        else:
            headers["Accept"] = "application/zip, image/png, image/jpeg, application/json"
        response = post(model, data=PHOTOS[0], headers=headers)
    assert files_in(response) == {
        f"{name}.mask.png": alone(model, PHOTOS[0], "mask"),
        f"{name}.overlay.jpg": alone(model, PHOTOS[0], "overlay"),
        f"{name}.json": alone(model, PHOTOS[0], "json"),
    }


def test_a_form_of_several_images(model: RunningModel) -> None:
    parts = {"image0": PHOTOS[0], "image1": BROKEN, "image2": PHOTOS[1]}
    bodies = [alone(model, image, "json") for image in parts.values()]
    response = post(model, files=parts, data={"output": "json"})
    assert response.content == b"[" + b",".join(bodies) + b"]"
    names = {"name0": "a.jpg", "name1": "b.jpg"}
    assert files_in(post(model, files=parts, data=names)) == {
        "a.jpg.mask.png": alone(model, PHOTOS[0], "mask"),
        "b.jpg.error.json": bodies[1],
        "image2.mask.png": alone(model, PHOTOS[1], "mask"),
    }


def test_kserve_instances(model: RunningModel) -> None:
    base = model.url.split("/predictions/")[0]
    images = [PHOTOS[0], BROKEN, PHOTOS[1]]
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]
    url = f"{base}/v1/models/segmenter:predict"
    response = requests.post(url, json={"instances": instances}, timeout=TIMEOUT)
    first, failed, last = response.json()["predictions"]
    assert {"predictions": [first]} == json.loads(alone(model, PHOTOS[0], "kserve"))
    assert failed["error"].startswith("image_truncated: ")
    assert {"predictions": [last]} == json.loads(alone(model, PHOTOS[1], "kserve"))


def test_a_tensor_of_several_images(model: RunningModel) -> None:
    base = model.url.split("/predictions/")[0]
    pixels = np.stack([np.asarray(photo(30, 40, seed)) for seed in range(3)])
    tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8"}
    document = {"inputs": [{**tensor, "data": pixels.ravel().tolist()}]}
    url = f"{base}/v2/models/segmenter/infer"
    response = requests.post(url, json=document, timeout=TIMEOUT)
    (mask,) = response.json()["outputs"]
    assert mask["shape"] == [3, 30, 40]
    expected = [
        np.load(io.BytesIO(alone(model, encoded(photo(30, 40, seed), "PNG"), "npy")))
        for seed in range(3)
    ]
    np.testing.assert_array_equal(np.reshape(mask["data"], mask["shape"]), expected)
