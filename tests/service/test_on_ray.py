"""The same archive on TorchServe and on Ray: the same responses, but for those listed here."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import yaml
from requests.structures import CaseInsensitiveDict

from scripts.launch.loopback import session
from scripts.launch.on_ray import RayInstance, running_on_ray, stop_on_ray
from scripts.launch.ports import free_neighbour, free_ports
from scripts.launch.process_groups import members
from serving.formats import FORMATS
from tests.deploy.monitoring import (
    FOLDER,
    alert_expressions,
    dashboard_expressions,
    metric_names,
)
from tests.photos import encoded, photo, png_header
from tests.service.conftest import VERSION, RunningModel

pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")

TIMEOUT = 120  # seconds: a bound against hanging
POLL_SECONDS = 0.5

PHOTO = encoded(photo(75, 113), "JPEG")
B64 = base64.b64encode(PHOTO).decode()
V1 = {"instances": [{"b64": B64}]}
V2 = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [B64]}]}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=q"}
PREDICTIONS = "/predictions/segmenter"


@dataclass(frozen=True)
class Call:
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    path: str = PREDICTIONS
    method: str = "POST"


def json_call(document: object, path: str = PREDICTIONS, **headers: str) -> Call:
    return Call(json.dumps(document).encode("ascii"), {**JSON, **headers}, path)


def form_call(*parts: tuple[str, str, bytes]) -> Call:
    """Parts are name, further parameters of their disposition, and content."""
    body = b"".join(
        b'--q\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (name.encode(), parameters.encode(), content)
        for name, parameters, content in parts
    )
    return Call(body + b"--q--\r\n", FORM)


FILE = '; filename="photo.jpg"'

CALLS = {
    **{f"format {name}": Call(PHOTO, path=f"{PREDICTIONS}/{VERSION}/{name}") for name in FORMATS},
    "body": Call(PHOTO),
    "typed body": Call(PHOTO, JPEG),
    "PUT": Call(PHOTO, method="PUT"),
    "several formats": Call(PHOTO, path=f"{PREDICTIONS}/{VERSION}/mask,json"),
    "zip by Accept": Call(PHOTO, {"Accept": "application/zip, image/png"}),
    "Accept": Call(PHOTO, {"Accept": "application/json"}),
    "options": Call(PHOTO, {"X-Segmenter-Classes": "roof", "X-Segmenter-Threshold": "0.5"}),
    "name": Call(PHOTO, {"X-Segmenter-Output": "coco", "X-Segmenter-Name": "a%20b.jpg"}),
    "PNG": Call(encoded(photo(64, 96), "PNG")),
    "TIFF": Call(encoded(photo(64, 96), "TIFF")),
    "json": json_call({"image": B64}),
    "json with an option": json_call({"image": B64, "output": "json"}),
    "KServe": json_call(V1),
    "Open Inference": json_call(V2),
    "Hugging Face": json_call({"inputs": B64}),
    "KServe's path": json_call(V1, "/v1/models/segmenter:predict"),
    "two instances": json_call({"instances": 2 * V1["instances"]}, "/v1/models/segmenter:predict"),
    "Open Inference's path": json_call(V2, "/v2/models/segmenter/infer"),
    "SageMaker's path": Call(PHOTO, JPEG, "/invocations"),
    "invoke": Call(PHOTO, JPEG, "/models/segmenter/invoke"),
    "invoke with a query": Call(PHOTO, JPEG, "/models/segmenter/invoke?output=json"),
    "form": form_call(("image", FILE, PHOTO)),
    "form without a file": form_call(("image", "", PHOTO)),
    "form with options": form_call(("image", FILE, PHOTO), ("output", "", b"json")),
    "describe header": Call(PHOTO, {"describe": "True", "explain": "True"}),
    "viewer": Call(headers={"Accept": BROWSER}, method="GET"),
    "model card": Call(headers={"X-Segmenter-Output": "model"}, method="GET"),
    "ping": Call(path="/ping", method="GET"),
    # Refused, by the service's own rules.
    "empty": Call(b"", {"Accept": "image/png"}),
    "no image": Call(b"hello", {"Content-Type": "text/plain"}),
    "PDF": Call(b"%PDF-1.7 and so on"),
    "truncated": Call(PHOTO[: len(PHOTO) // 2]),
    "too many pixels": Call(png_header(60_000, 60_000)),
    "too many bytes": Call(PHOTO + b"\0" * (32 << 20)),
    "unknown format": Call(PHOTO, path=f"{PREDICTIONS}/{VERSION}/hologram"),
    "unknown class": Call(PHOTO, {"X-Segmenter-Classes": "unicorn"}),
    "unknown header": Call(PHOTO, {"X-Segmenter-Treshold": "1"}),
    "not acceptable": Call(PHOTO, {"Accept": "video/mp4"}),
    "invalid JSON": Call(b"{nonsense", JSON),
    "no image in JSON": json_call({"picture": B64}),
    "invalid base64": json_call({"image": "no base64!"}),
    "base64 as text": Call(B64.encode(), {"Content-Type": "text/plain"}),
    "two images": form_call(("a", FILE, PHOTO), ("b", FILE, PHOTO)),
    "unknown encoding": Call(PHOTO, {"Content-Encoding": "br", **JPEG}),
    # Where the engines differ.
    "files' names": form_call(("image0", FILE, PHOTO), ("image1", FILE, PHOTO)),
    "unknown parameter": Call(PHOTO, JPEG, "/models/segmenter/invoke?treshold=1"),
    "query": Call(PHOTO, path=f"{PREDICTIONS}?output=json"),
    "format without a version": Call(PHOTO, path=f"{PREDICTIONS}/json"),
    "curl's form": Call(PHOTO, {"Content-Type": "application/x-www-form-urlencoded"}),
    "broken form": Call(b"xx", FORM),
    "a name twice": form_call(("image", FILE, b"none"), ("image", FILE, PHOTO)),
    "error on KServe's path": Call(b"{", JSON, "/v1/models/segmenter:predict"),
    "document of a protocol": Call(path="/v2/models/segmenter", method="GET"),
    "over the limit": Call(b"\0" * ((48 << 20) + 1)),
    "unknown version": Call(PHOTO, path=f"{PREDICTIONS}/9.9"),
    "unknown model": Call(PHOTO, path="/predictions/other"),
    "unknown path": Call(path="/nothing", method="GET"),
    "unknown method": Call(method="DELETE"),
}

# Why the responses differ; docs/ray.md has the same list in its own words.
DIFFERENCES = {
    "files' names": "TorchServe does not show them, so entries of an archive have numbers",
    "unknown parameter": "TorchServe shows a query as a form's fields, so the message says field",
    "query": "TorchServe drops it; on Ray it counts, as behind the gateway",
    "format without a version": "TorchServe takes the format for a version; the gateway does not",
    "curl's form": "TorchServe parses a form that is none; on Ray and the gateway it is the image",
    "broken form": "500 of TorchServe's; 400 on Ray and the gateway",
    "a name twice": "TorchServe shows the last; on Ray it is refused",
    "error on KServe's path": "TorchServe does not show the path, by which the error gets its form",
    "document of a protocol": "on TorchServe the gateway's",
    "over the limit": "TorchServe's 413 has no body",
    "unknown version": "TorchServe's own errors have another form",
    "unknown model": "TorchServe's own errors have another form",
    "unknown path": "TorchServe's own errors have another form",
    "unknown method": "TorchServe's own errors have another form",
}

# Of the connection and the moment, not of the response.
TRANSIENT = ("connection", "date", "server", "server-timing", "transfer-encoding", "x-request-id")


@pytest.fixture(scope="module")
def on_ray(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayInstance]:
    port = free_neighbour(free_ports().inference)
    with running_on_ray(archive, tmp_path_factory.mktemp("ray"), port) as instance:
        yield instance
    assert members(instance.leader.pid) == []


def send(url: str, call: Call) -> requests.Response:
    return session().request(
        call.method, url + call.path, data=call.body, headers=call.headers, timeout=TIMEOUT
    )


def lasting(headers: CaseInsensitiveDict[str]) -> dict[str, str]:
    return {name: value for name, value in headers.lower_items() if name not in TRANSIENT}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in DIFFERENCES])
def test_the_same_response(model: RunningModel, on_ray: RayInstance, name: str) -> None:
    expected = send(model.service.url, CALLS[name])
    response = send(on_ray.url, CALLS[name])
    assert response.status_code == expected.status_code
    assert response.content == expected.content
    assert lasting(response.headers) == lasting(expected.headers)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_listed_difference_is_one(model: RunningModel, on_ray: RayInstance, name: str) -> None:
    expected = send(model.service.url, CALLS[name])
    response = send(on_ray.url, CALLS[name])
    assert (response.status_code, response.content) != (expected.status_code, expected.content)
    assert "Model-Digest" in response.headers
    assert response.status_code < 500


def relabelled(name: str) -> str:
    """A metric's name after the rules in deploy/monitoring/prometheus-ray.yml."""
    config = yaml.safe_load((FOLDER / "prometheus-ray.yml").read_text("ascii"))
    (job,) = config["scrape_configs"]
    for rule in job["metric_relabel_configs"]:
        match = re.fullmatch(rule["regex"], name)
        if match:
            name = match.expand(
                rule.get("replacement", "$1").replace("${1}", "$1").replace("$", "\\")
            )
    return name


def test_metrics_have_the_names_that_the_alerts_read(on_ray: RayInstance) -> None:
    """But for what has not happened: no photo ran out of memory, and no response was 5xx."""
    assert send(on_ray.url, CALLS["body"]).status_code == 200
    assert send(on_ray.url, CALLS["no image"]).status_code == 415
    never = {"Requests5XX", "segmenter_out_of_memory_retries_total", "up"}
    needed = metric_names([*dashboard_expressions(), *alert_expressions()]) - never
    deadline = time.monotonic() + TIMEOUT
    while missing := needed - scraped(on_ray):  # Ray collects them every 5 s or so
        assert time.monotonic() < deadline, missing
        time.sleep(POLL_SECONDS)


def scraped(on_ray: RayInstance) -> set[str]:
    text = session().get(on_ray.metrics, timeout=TIMEOUT).text
    names = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    return {relabelled(name) for name in names}


def test_a_stop_waits_for_requests_in_flight(on_ray: RayInstance) -> None:
    """The last test of this file: nothing runs after it."""
    expected = send(on_ray.url, CALLS["body"]).content
    log = on_ray.folder / "deploy.log"
    log.unlink()

    def slow_body() -> Iterator[bytes]:
        yield PHOTO[:1000]
        stopping.start()
        while "Deleting app" not in (log.read_text("utf-8") if log.exists() else ""):
            time.sleep(POLL_SECONDS)
        yield PHOTO[1000:]

    stopping = threading.Thread(target=stop_on_ray, args=[on_ray.folder])
    response = session().post(f"{on_ray.url}{PREDICTIONS}", data=slow_body(), timeout=TIMEOUT)
    assert (response.status_code, response.content) == (200, expected)
    stopping.join(TIMEOUT)
    assert members(on_ray.leader.pid) == []
