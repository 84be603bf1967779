"""The model behind the gateway, as people and programs on a network meet it."""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from PIL import Image

from scripts.launch.gateway import Gateway
from scripts.stress.fuzz.connection import send
from scripts.stress.fuzz.hostile_requests import hostile_request
from segmenter_client import Service
from serving.types import ModelInfo
from tests.deploy.kills import kill_under_load
from tests.deploy.load import CheckedRequest, Endpoint
from tests.photos import agreement, encoded, photo
from tests.service.conftest import VERSION, RunningModel

PHOTO = encoded(photo(75, 113), "JPEG")
B64 = base64.b64encode(PHOTO).decode()
TIMEOUT = 60  # seconds: a bound against hanging

# Of masks that come out of batches of other sizes.
SAME = 0.9


@pytest.fixture
def http(front: Gateway) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(front.certificate)
        session.headers["Authorization"] = f"Bearer {front.token}"
        yield session


@pytest.mark.parametrize("version", ["", f"/{VERSION}"])
def test_several_formats_at_the_end_of_the_path(
    front: Gateway, http: requests.Session, version: str
) -> None:
    url = f"{front.url}/predictions/segmenter{version}"
    response = http.post(f"{url}/mask,coco?name=a.jpg", data=PHOTO, timeout=TIMEOUT)
    assert response.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["a.jpg.mask.png", "a.jpg.coco.json"]
    assert http.post(f"{url}/mask,picture", data=PHOTO, timeout=TIMEOUT).status_code >= 400


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/predictions/segmenter", {"data": PHOTO}),
        (f"/predictions/segmenter/{VERSION}/mask", {"data": PHOTO}),
        ("/predictions/segmenter", {"data": iter([PHOTO[:1000], PHOTO[1000:]])}),
        ("/predictions/segmenter", {"files": {"image": ("photo.jpg", PHOTO, "image/jpeg")}}),
        ("/predictions/segmenter", {"json": {"image": B64}}),
        ("/invocations", {"data": PHOTO, "headers": {"Content-Type": "image/jpeg"}}),
        ("/models/segmenter/invoke?output=mask", {"data": PHOTO}),
    ],
)
def test_the_mask_is_the_one_in_process(
    model: RunningModel,
    front: Gateway,
    http: requests.Session,
    path: str,
    arguments: dict[str, object],
) -> None:
    response = http.post(front.url + path, timeout=TIMEOUT, **arguments)  # type: ignore[arg-type]
    assert np.array_equal(mask_of(response), model.mask_in_process(PHOTO))


@pytest.mark.parametrize("image_format", ["JPEG", "WebP", "PNG", "TIFF"])
def test_a_photo_that_curl_declares_a_form(
    model: RunningModel, front: Gateway, http: requests.Session, image_format: str
) -> None:
    data = encoded(photo(75, 113), image_format)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = http.post(front.predictions, data=data, headers=form, timeout=TIMEOUT)
    assert np.array_equal(mask_of(response), model.mask_in_process(data))


def test_the_page_opens_with_the_token_as_password(front: Gateway) -> None:
    with requests.Session() as browser:
        browser.trust_env = False
        browser.verify = str(front.certificate)
        browser.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
        asked = browser.get(front.predictions, timeout=TIMEOUT)
        assert asked.status_code == 401
        assert asked.headers["WWW-Authenticate"].startswith("Basic ")
        browser.auth = ("me", front.token)
        page = browser.get(front.predictions, timeout=TIMEOUT)
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<!DOCTYPE html>" in page.text


def test_the_client_learns_the_model_and_gets_several_formats(
    model: RunningModel, front: Gateway
) -> None:
    with Service(front.predictions, token=front.token, verify=front.certificate) as service:
        card = service.model()
        outputs = service.predict_all(PHOTO, ["mask", "coco"], name="stra\u00dfe/photo.jpg")
    assert card.digest == model.digest
    assert card.limits.max_pixels > 0
    assert np.array_equal(
        np.array(Image.open(io.BytesIO(outputs["mask"]))), model.mask_in_process(PHOTO)
    )
    (image,) = json.loads(outputs["coco"])["images"]
    assert image["file_name"] == "stra\u00dfe/photo.jpg"


def test_ready_and_live_without_the_token(front: Gateway) -> None:
    for probe in ("ready", "live"):
        response = requests.get(
            f"{front.url}/{probe}", verify=str(front.certificate), timeout=TIMEOUT
        )
        assert response.json() == {"status": probe}


def test_errors_are_the_services_own(front: Gateway, http: requests.Session) -> None:
    response = http.post(front.predictions, data=b"no photo", timeout=TIMEOUT)
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_format"


@pytest.mark.parametrize("category", ["urlencoded", "multipart", "path", "broken http"])
def test_what_torchserve_itself_would_response_500(
    model: RunningModel, front: Gateway, category: str
) -> None:
    hostile = [seen for seen in map(hostile_request, range(1000)) if seen.category == category]
    outcomes = [send(model.service, request, front) for request in hostile[:20]]
    assert len(outcomes) >= 15
    assert [outcome.fault for outcome in outcomes if outcome.fault] == []


def test_the_header_by_which_the_gateway_knows_the_handler() -> None:
    assert "Model-Digest" in ModelInfo("name", "1.0", "sha256:0", "fp32").headers()


@pytest.mark.skipif("KILLS" not in os.environ, reason="minutes; KILLS=20 -s runs it")
def test_no_photo_is_lost_while_workers_are_killed(model: RunningModel, front: Gateway) -> None:
    kills = int(os.environ["KILLS"])
    photos = [encoded(photo(480 + 8 * client, 640, seed=client), "PNG") for client in range(6)]
    assert max(map(len, photos)) < 1 << 20
    masks = [model.mask_in_process(body) for body in photos]

    def make_request(client: int, number: int) -> CheckedRequest:
        return (
            photos[client],
            lambda response: agreement(mask_of(response), masks[client]) > SAME,
        )

    with_gateway = Endpoint(front.predictions, front.token, front.certificate)
    saved = kill_under_load(model.service, with_gateway, kills, len(photos), make_request)
    print(f"\nbehind the gateway: {saved}")
    bare = kill_under_load(model.service, Endpoint(model.url), kills, len(photos), make_request)
    print(f"without it:         {bare}")
    assert saved.load.failed == {}
    assert saved.load.outcomes["refused"] == 0
    # Those that were in flight, of each client one at most; and no response was another's.
    assert sum(bare.load.failed.values()) <= kills * len(photos)
    assert not bare.load.outcomes["another's response"]


def mask_of(response: requests.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))
