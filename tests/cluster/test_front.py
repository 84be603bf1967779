"""The contract's addresses, headers and limits, with a real model and without Ray."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from starlette.testclient import TestClient

from cluster.archive import UnpackedArchive
from cluster.front import build_front
from cluster.http_request import MAX_BODY_BYTES
from cluster.worker import MAX_WAITING, Worker
from scripts.common.terminal import ROOT
from scripts.launch.nginx_config import max_request_size
from serving.runtime.loading import ArchiveError
from serving.telemetry.metrics import Sample
from serving.types import HttpRequest
from tests.archives import unpacked_archive
from tests.photos import encoded, photo

VERSION = "2.0"
PHOTO = encoded(photo(75, 113), "JPEG")
B64 = base64.b64encode(PHOTO).decode()
V1 = {"instances": [{"b64": B64}]}
V2 = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [B64]}]}
CONFIG = {"batchSize": 8, "maxBatchDelay": 2, "responseTimeout": 120}
PREDICTIONS = "/predictions/segmenter"


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return []


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample]) -> Iterator[TestClient]:
    folder = unpacked_archive(tmp_path_factory.mktemp("archive"))
    archive = UnpackedArchive(folder, VERSION, CONFIG)
    worker = Worker(archive, torch.device("cpu"), threads=1, record=samples.extend)
    with TestClient(build_front(worker), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def mask(client: TestClient) -> bytes:
    response = client.post(PREDICTIONS, content=PHOTO)
    assert response.status_code == 200, response.text
    assert response.content.startswith(b"\x89PNG")
    return response.content


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        (f"{PREDICTIONS}/{VERSION}", {"content": PHOTO}),
        (f"{PREDICTIONS}/{VERSION}/mask", {"content": PHOTO}),
        (f"{PREDICTIONS}/mask", {"content": PHOTO}),
        (f"{PREDICTIONS}/", {"content": PHOTO}),
        (f"{PREDICTIONS}?output=mask", {"content": PHOTO}),
        ("/invocations", {"content": PHOTO}),
        ("/models/segmenter/invoke", {"content": PHOTO}),
        (PREDICTIONS, {"content": iter([PHOTO[:1000], PHOTO[1000:]])}),
        (PREDICTIONS, {"json": {"image": B64}}),
        (PREDICTIONS, {"files": {"image": ("photo.jpg", PHOTO, "image/jpeg")}}),
        (PREDICTIONS, {"files": {"anything": ("photo.jpg", PHOTO)}}),
        (PREDICTIONS, {"files": {"image": (None, PHOTO)}}),
        (PREDICTIONS, {"files": {"data": PHOTO}, "data": {"output": "mask"}}),
        (
            PREDICTIONS,  # as `curl --data-binary` declares it
            {
                "content": PHOTO,
                "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            },
        ),
        ("/v1/models/segmenter:predict", {"json": V1, "headers": {"Accept": "image/png"}}),
        ("/v2/models/segmenter/infer", {"json": V2, "headers": {"Accept": "image/png"}}),
        (
            f"/v2/models/segmenter/versions/{VERSION}/infer",
            {"json": V2, "headers": {"Accept": "image/png"}},
        ),
    ],
)
def test_every_way_to_send_a_photo_gives_the_same_mask(
    client: TestClient, mask: bytes, path: str, arguments: dict[str, object]
) -> None:
    response = client.post(path, **arguments)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    assert response.content == mask


def test_put_is_what_curl_sends(client: TestClient, mask: bytes) -> None:
    assert client.put(PREDICTIONS, content=PHOTO).content == mask


def test_the_file_of_a_form_has_its_name(client: TestClient) -> None:
    files = {"image": ("str\u00e4\u00dfe.jpg", PHOTO)}
    coco = client.post(PREDICTIONS, files=files, data={"output": "coco"}).json()
    assert coco["images"][0]["file_name"] == "str\u00e4\u00dfe.jpg"


def test_options_of_the_query_count(client: TestClient) -> None:
    response = client.post(f"{PREDICTIONS}?classes=roof&output=json", content=PHOTO)
    assert {entry["label"] for entry in response.json()["classes"]} <= {"roof", "void"}
    through_gateway = client.post(
        PREDICTIONS, content=PHOTO, headers={"X-Segmenter-Query": "classes=roof&output=json"}
    )
    assert through_gateway.content == response.content


@pytest.mark.parametrize(
    ("path", "arguments", "status", "code"),
    [
        (PREDICTIONS, {"content": b"hello"}, 415, "unsupported_format"),
        (PREDICTIONS, {"content": b"", "headers": {"Accept": "image/png"}}, 400, "image_empty"),
        (f"{PREDICTIONS}?treshold=1", {"content": PHOTO}, 400, "unknown_name"),
        (f"{PREDICTIONS}/{VERSION}/hologram", {"content": PHOTO}, 400, "unknown_output"),
        (f"{PREDICTIONS}/9.9", {"content": PHOTO}, 404, "not_found"),
        (f"{PREDICTIONS}/9.9/mask", {"content": PHOTO}, 404, "not_found"),
        ("/predictions/other", {"content": PHOTO}, 404, "not_found"),
        ("/nothing", {}, 404, "not_found"),
        ("/model", {}, 405, "method_not_allowed"),
        (PREDICTIONS, {"content": b"\0" * (MAX_BODY_BYTES + 1)}, 413, "request_too_large"),
        (
            PREDICTIONS,
            {"content": iter([b"\0" * MAX_BODY_BYTES, b"\0"])},
            413,
            "request_too_large",
        ),
        (
            PREDICTIONS,
            {"files": [("image", PHOTO), ("image", PHOTO)]},
            400,
            "repeated_name",
        ),
        (
            PREDICTIONS,
            {"content": b"xx", "headers": {"Content-Type": "multipart/form-data; boundary=q"}},
            400,
            "bad_request",
        ),
    ],
)
def test_the_error_table(
    client: TestClient, path: str, arguments: dict[str, object], status: int, code: str
) -> None:
    response = client.post(path, **arguments)  # type: ignore[arg-type]
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")


@pytest.mark.parametrize(
    "response_to",
    [
        lambda client: client.post(PREDICTIONS, content=PHOTO),
        lambda client: client.post(PREDICTIONS, content=b"hello"),
        lambda client: client.get("/nothing"),
        lambda client: client.get("/model"),
    ],
)
def test_every_response_is_signed_and_never_cached(client: TestClient, response_to: object) -> None:
    assert callable(response_to)
    headers = response_to(client).headers
    assert headers["Model-Name"] == "tiny"
    assert headers["Model-Version"] == VERSION
    assert "dur=" in headers["Server-Timing"]
    assert "no-store" in headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/v1/models/segmenter:predict", "/v2/models/segmenter/infer"])
@pytest.mark.parametrize("body", [b"{", b"\0" * (MAX_BODY_BYTES + 1)])
def test_errors_on_a_protocols_path_have_its_form(
    client: TestClient, path: str, body: bytes
) -> None:
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 413)
    assert re.match("[a-z_]+: ", response.json()["error"])


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/", "<!DOCTYPE html>"),
        (PREDICTIONS, "<!DOCTYPE html>"),
        ("/model", '"preprocessing"'),
        ("/ping", "Healthy"),
        ("/v1/models/segmenter", '"ready":true'),
        ("/v2", "binary_tensor_data"),
        ("/v2/health/live", '"live": true'),
        ("/v2/health/ready", '"ready": true'),
        ("/v2/models/segmenter", '"platform"'),
        ("/v2/models/segmenter/ready", '"ready":true'),
        (f"/v2/models/segmenter/versions/{VERSION}", '"platform"'),
        (f"/v2/models/segmenter/versions/{VERSION}/ready", '"ready":true'),
    ],
)
def test_documents(client: TestClient, path: str, part: str) -> None:
    response = client.get(path, headers={"Accept": "text/html"})
    assert response.status_code == 200
    assert part in response.text
    head = client.head(path, headers={"Accept": "text/html"})
    assert (head.status_code, head.content) == (200, b"")


def test_another_version_has_no_documents(client: TestClient) -> None:
    assert client.get("/v2/models/segmenter/versions/9.9").status_code == 404


def test_nothing_redirects_to_the_host_that_a_client_names(client: TestClient) -> None:
    for path in ("/model/", "/v2/models/segmenter/", "/invocations/"):
        response = client.get(path, headers={"Host": "elsewhere"}, follow_redirects=False)
        assert response.status_code == 404, path
        assert "Location" not in response.headers


def test_an_address_says_which_methods_it_takes(client: TestClient) -> None:
    response = client.delete(PREDICTIONS)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT"}


def test_metrics_under_the_names_of_the_dashboard(
    client: TestClient, mask: bytes, samples: list[Sample]
) -> None:
    samples.clear()
    client.post(PREDICTIONS, content=PHOTO)
    client.get("/nothing")
    names = {sample.name for sample in samples}
    dashboard = (ROOT / "deploy" / "monitoring" / "dashboard.json").read_text("ascii")
    assert {"Requests2XX", "Requests4XX", "ts_queue_latency_microseconds"} <= names
    assert {"segmenter_images_total", "segmenter_batch_seconds"} <= names
    for name in ("Requests4XX", "ts_queue_latency_microseconds", "segmenter_stage_seconds"):
        assert name in dashboard
        assert name in names


def test_a_fault_of_ours_is_json_with_the_request_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "respond", None)
    response = client.post(PREDICTIONS, content=PHOTO, headers={"X-Request-Id": "id-7"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert response.json()["error"]["request_id"] == "id-7"
    assert "Model-Digest" in response.headers


def test_the_largest_body_is_torchserves() -> None:
    assert max_request_size() == MAX_BODY_BYTES


def test_a_full_queue_is_503_and_says_when_to_come_back(tmp_path: Path) -> None:
    archive = UnpackedArchive(unpacked_archive(tmp_path), VERSION, CONFIG)
    worker = Worker(archive, torch.device("cpu"), threads=1, record=lambda samples: None)

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(build_front(worker))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            waiting = 2 * (MAX_WAITING + archive.batch_size)
            posts = [http.post(PREDICTIONS, content=b"hello") for _ in range(waiting)]
            responses = await asyncio.gather(*posts)
        await worker.close()
        return responses

    responses = asyncio.run(scenario())
    refused = [response for response in responses if response.status_code == 503]
    served = [response for response in responses if response.status_code == 415]
    assert len(refused) + len(served) == len(responses)
    assert refused
    assert len(served) >= MAX_WAITING
    assert refused[0].json()["error"]["code"] == "overloaded"
    assert refused[0].headers["Retry-After"] == "2"


def test_a_model_that_is_no_longer_the_one_that_was_built_is_noticed(tmp_path: Path) -> None:
    archive = UnpackedArchive(unpacked_archive(tmp_path), VERSION, CONFIG)
    worker = Worker(archive, torch.device("cpu"), threads=1, record=lambda samples: None)

    async def scenario() -> None:
        await worker.check()
        worker.service.model.net.register_forward_hook(lambda net, inputs, logits: -logits)
        with pytest.raises(ArchiveError, match="does not reproduce the golden image"):
            await worker.check()
        await worker.close()

    asyncio.run(scenario())


def test_a_batch_that_fails_is_500_with_its_request_id(tmp_path: Path) -> None:
    archive = UnpackedArchive(unpacked_archive(tmp_path), VERSION, CONFIG)
    worker = Worker(archive, torch.device("cpu"), threads=1, record=lambda samples: None)
    worker.service.documents.clear()  # a fault of ours: no document can be found
    worker.service.reporter = None  # type: ignore[assignment]

    async def scenario() -> tuple[int, str]:
        response = await worker.respond(HttpRequest("id-1", {}, {"body": PHOTO}))
        await worker.close()
        return response.status, json.loads(response.body)["error"]["request_id"]

    assert asyncio.run(scenario()) == (500, "id-1")
