"""The live service against its published contract, by openapi-core."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from openapi_core.validation.response.exceptions import InvalidData

from scripts.openapi.examples import BAD_FORMS, BAD_REQUESTS, IMAGE, bad_images
from scripts.openapi.generate import DOCUMENT
from serving.formats import FORMATS
from tests.service.conftest import VERSION, RunningModel

# openapi-core warns of media types that it cannot take apart; images are taken as they are.
pytestmark = pytest.mark.filterwarnings("ignore")

DOCUMENTED = json.loads(DOCUMENT.read_text("ascii"))
PREDICTIONS = "/predictions/segmenter"


@pytest.fixture(scope="module")
def contract(model: RunningModel) -> OpenAPI:
    """At the addresses of the running service."""
    document = json.loads(DOCUMENT.read_text("ascii"))
    document["servers"] = [{"url": model.service.url}]
    document["paths"]["/models/segmenter"]["servers"] = [{"url": model.service.management}]
    config = Config(extra_media_type_deserializers={"application/geo+json": json.loads})
    return OpenAPI.from_dict(document, config=config)


def documented_inputs() -> Iterator[tuple[str, str, bytes]]:
    """Name, media type and body of every example of what is sent."""
    for media_type, content in DOCUMENTED["components"]["requestBodies"]["Image"][
        "content"
    ].items():
        for name, example in content.get("examples", {}).items():
            if "externalValue" in example:
                yield name, media_type, base64.b64decode(example["externalValue"].split(",")[1])
            elif media_type == "application/json":
                yield name, media_type, json.dumps(example["value"]).encode("ascii")


@pytest.mark.parametrize("output", FORMATS)
def test_every_output(model: RunningModel, contract: OpenAPI, output: str) -> None:
    response = ask(model, contract, f"{PREDICTIONS}/{VERSION}/{output}", IMAGE, "image/png")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == FORMATS[output].media_type


@pytest.mark.parametrize(("name", "media_type", "body"), list(documented_inputs()))
def test_every_input(
    model: RunningModel, contract: OpenAPI, name: str, media_type: str, body: bytes
) -> None:
    assert ask(model, contract, PREDICTIONS, body, media_type).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models/segmenter:predict", "/v2/models/segmenter/infer"])
def test_the_protocols_own_paths(model: RunningModel, contract: OpenAPI, path: str) -> None:
    content = DOCUMENTED["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    body = json.dumps(content["examples"]["image"]["value"]).encode("ascii")
    assert ask(model, contract, path, body, "application/json").status_code == 200


def test_a_form(model: RunningModel, contract: OpenAPI) -> None:
    request = requests.Request(
        "POST",
        f"{model.service.url}{PREDICTIONS}",
        files={"image": IMAGE},
        data={"output": "json", "threshold": "0.5"},
    )
    assert exchange(contract, request, check_request=False).json()["size"]["width"] == 8


def test_every_error_that_a_request_can_cause(model: RunningModel, contract: OpenAPI) -> None:
    """The code's own bad requests and images, as they are in the contract's examples."""
    documented = {
        code: int(name.removeprefix("Error"))
        for name, response in DOCUMENTED["components"]["responses"].items()
        if name.startswith("Error")
        for code in response["content"]["application/json"]["examples"]
    }
    found = set()
    sent = [
        *BAD_REQUESTS,
        *((image, {"Content-Type": "application/octet-stream"}, "") for image in bad_images()),
    ]
    url = model.service.url + PREDICTIONS
    bad = [
        requests.Request(
            "POST", f"{url}/{VERSION}/{suffix}" if suffix else url, headers=headers, data=body
        )
        for body, headers, suffix in sent
    ]
    for request in [*bad, *(requests.Request("POST", url, files=form) for form in BAD_FORMS)]:
        response = exchange(contract, request, check_request=False)
        error = response.json()["error"]
        code = error["code"] if isinstance(error, dict) else error.partition(": ")[0]
        assert response.status_code == documented[code], code
        found.add(code)
    unprovoked = {"answer_too_large", "image_too_slow", "internal_error", "overloaded"}
    assert documented.keys() - found == unprovoked


def test_torchserves_own_error_is_in_the_contract(model: RunningModel, contract: OpenAPI) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"{model.service.url}{PREDICTIONS}"
    request = requests.Request("POST", url, headers=form, data=b"a=%zz")
    assert exchange(contract, request, check_request=False).status_code == 500


def test_the_page_and_the_card(model: RunningModel, contract: OpenAPI) -> None:
    page = requests.Request("GET", model.url, headers={"Accept": "text/html"})
    assert exchange(contract, page).status_code == 200
    named = requests.Request("GET", model.url, headers={"X-Segmenter-Output": "model"})
    assert exchange(contract, named).json()["version"] == VERSION
    card = requests.Request(
        "GET", f"{model.service.management}/models/segmenter", params={"customized": "true"}
    )
    (managed,) = exchange(contract, card).json()
    outputs = managed["customizedMetadata"]["outputs"]
    assert {entry["name"] for entry in outputs} >= set(FORMATS)


def test_a_response_that_breaks_the_contract_is_found(
    model: RunningModel, contract: OpenAPI
) -> None:
    url = f"{model.service.url}/v1/models/segmenter:predict"
    request = requests.Request("POST", url, json={"instances": [{"b64": ""}]}).prepare()
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/json"
    response._content = b'{"predictions": [{"mask": 1}]}'
    with pytest.raises(InvalidData):
        contract.validate_response(
            RequestsOpenAPIRequest(request), RequestsOpenAPIResponse(response)
        )


def ask(
    model: RunningModel, contract: OpenAPI, path: str, body: bytes, media_type: str
) -> requests.Response:
    headers = {"Content-Type": media_type}
    url = model.service.url + path
    return exchange(contract, requests.Request("POST", url, headers=headers, data=body))


def exchange(
    contract: OpenAPI, request: requests.Request, check_request: bool = True
) -> requests.Response:
    """Send it, and hold what was sent and what came to the contract."""
    prepared: Any = request.prepare()
    if check_request:
        contract.validate_request(RequestsOpenAPIRequest(prepared))
    with requests.Session() as session:
        response = session.send(prepared, timeout=60)
    contract.validate_response(RequestsOpenAPIRequest(prepared), RequestsOpenAPIResponse(response))
    return response
