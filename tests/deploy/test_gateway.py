"""A real nginx before a real TorchServe: authentication, limits, and requests that are saved."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import psutil
import pytest
import requests
import yaml
from openapi_spec_validator import validate

from scripts.common.terminal import ROOT
from scripts.launch import gateway
from scripts.launch.credentials import credentials
from scripts.launch.gateway import Gateway, running_in, stop
from scripts.launch.loopback import session
from scripts.launch.nginx_config import TEMPLATE, ClientLimits, max_request_size
from scripts.launch.ports import HOST, free_ports
from serving.formats import FORMATS
from serving.wire import (
    DOCUMENTS,
    INFERENCE_HEADER_LENGTH,
    OPTION_HEADERS,
    OUTPUT_HEADER,
    PROTOCOL_HEADER,
    QUERY_HEADER,
)
from tests.deploy.conftest import GENEROUS, Stub, endpoint_of
from tests.deploy.kills import kill_under_load, worker_of
from tests.deploy.load import loaded
from tests.deploy.raw import connected, exchange, head, response_on
from tests.deploy.stub import VERSION, make_request

TIMEOUT = 60.0  # seconds: a bound against hanging

# All that the service reads of a request, besides Accept and Content-Type.
HEADERS_READ = (
    *(*OPTION_HEADERS.values(), OUTPUT_HEADER, INFERENCE_HEADER_LENGTH),
    "Content-Encoding",
)

# One of each kind of a path that goes on to TorchServe.
PATHS = (
    *("/", "/model", "/invocations", "/models/segmenter/invoke"),
    *("/predictions/segmenter", "/predictions/segmenter/1.0", "/predictions/segmenter/mask,json/"),
    *("/v1/models/segmenter", "/v1/models/segmenter:predict", "/v2/models/segmenter"),
    *("/v2/models/segmenter/versions/1.0/ready", "/v2/models/segmenter/versions/1.0/infer"),
)

Start = Callable[..., Gateway]


def get(front: Gateway, path: str, **arguments: object) -> requests.Response:
    return request(front, "GET", path, **arguments)


def request(front: Gateway, method: str, path: str, **arguments: object) -> requests.Response:
    http = session()
    http.verify = str(front.certificate)
    return http.request(method, front.url + path, timeout=TIMEOUT, **arguments)  # type: ignore[arg-type]


def post(front: Gateway, body: bytes, **headers: str) -> requests.Response:
    with endpoint_of(front).session() as http:
        return http.post(front.predictions, data=body, headers=headers, timeout=TIMEOUT)


def post_form(front: Gateway, body: bytes, suffix: str = "") -> requests.Response:
    with endpoint_of(front).session() as http:
        return http.post(front.predictions + suffix, files={"body": body}, timeout=TIMEOUT)


def code_of(body: bytes) -> str:
    """The code of an error in the service's own form, or in that of KServe's protocols."""
    error = json.loads(body)["error"]
    if isinstance(error, str):
        code, _, message = error.partition(": ")
        error = {"code": code, "message": message}
    assert error["message"].strip()
    return str(error["code"])


# --- Authentication ----------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer {token}",
        "bearer {token}",
        *(f"basic:{user}" for user in ("", "a", "ab", "abc", "someone", "jürgen", "a:b")),
    ],
)
def test_the_token_opens(front: Gateway, authorization: str) -> None:
    kind, _, user = authorization.partition(":")
    value = basic(user, front.token) if kind == "basic" else kind.format(token=front.token)
    response = get(front, "/predictions/segmenter", headers={"Authorization": value.encode()})
    assert response.status_code == 200, response.text


def wrong_credentials(token: str) -> dict[str, str | None]:
    """Values of Authorization by what is wrong with them; None: the header is missing."""
    wrong = {
        "none": None,
        "empty": "",
        "bare": token,
        "short": f"Bearer {token[:-1]}",
        "long": f"Bearer {token}0",
        "other": f"Bearer {'0' * len(token)}",
        "twice": f"Bearer {token} {token}",
        "as user": basic(token, ""),
        "no colon": "Basic " + base64.b64encode(token[1:].encode()).decode(),
        "not base64": f"Basic :{token}",
        "other scheme": f"Digest {token}",
    }
    for user in ("", "a", "ab"):
        wrong[f"short for {user!r}"] = basic(user, token[:-1])
        wrong[f"long for {user!r}"] = basic(user, token + "0")
        wrong[f"other for {user!r}"] = basic(user, token[:-1] + "g")
    return wrong


@pytest.mark.parametrize("name", wrong_credentials("0" * 64))
def test_nothing_else_opens(front: Gateway, name: str) -> None:
    authorization = wrong_credentials(front.token)[name]
    headers = {} if authorization is None else {"Authorization": authorization}
    response = get(front, "/predictions/segmenter", headers=headers)
    assert response.status_code == 401
    assert code_of(response.content) == "unauthorized"
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_a_token_in_the_url_is_ignored(front: Gateway) -> None:
    for query in (f"?token={front.token}", f"?access_token={front.token}"):
        assert get(front, f"/predictions/segmenter{query}").status_code == 401


def test_only_the_owner_can_read_files_with_the_token(front: Gateway) -> None:
    post(front, b"hello")
    get(front, f"/predictions/segmenter?token={front.token}")
    holders = [
        path
        for path in front.folder.iterdir()
        if path.is_file() and front.token in path.read_text("utf-8")
    ]
    assert sorted(path.name for path in holders) == ["authorization", "credentials", "token"]
    for path in (*holders, front.folder / "key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(front.folder.stat().st_mode) == 0o700
    commands = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if front.token in command]


def test_each_credential_is_one_of_four() -> None:
    lines = credentials("ab" * 32).splitlines()
    assert [line.split(":")[0] for line in lines] == ['"bearer', '"basic', '"basic', '"basic']


# --- What is open ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/predictions/segmenter",
        f"/predictions/segmenter/{VERSION}",
        f"/predictions/segmenter/{VERSION}/overlay",
        f"/predictions/segmenter/{VERSION}/mask,json",
        "/predictions/segmenter/mask,json",
        "/v1/models/segmenter:predict",
        "/v2/models/segmenter/infer",
        f"/v2/models/segmenter/versions/{VERSION}/infer",
        "/models/segmenter/invoke?output=json",
        "/invocations",
        "/invocations?model_name=other",
    ],
)
def test_predictions_are_open(front: Gateway, target: str) -> None:
    body = f"to {target}".encode()
    for method in ("POST", "PUT"):
        response, content = exchange(
            front, head(front, method, target, f"Content-Length: {len(body)}") + body
        )
        assert response.status == 200, content
        assert json.loads(content)["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    "target",
    [
        "/index.html",
        "/ping",
        "/metrics",
        "/api-description",
        "/models",
        "/models/segmenter",
        "/models/segmenter?customized=true",
        "/models/other/invoke",
        "/predictions/other",
        "/predictions",
        "/predictions/segmenter2",
        "/predictions/segmenter/../other",
        "/predictions/segmenter/../../models",
        "/predictions/segmenter/%2e%2e/%2e%2e/models",
        "/predictions/segmenter%2f..%2fother",
        f"/predictions/segmenter/{VERSION}/a%0d%0aX:%20y",
        f"/predictions/segmenter/{VERSION}/%3Fx",
        "/predictions/segmenter;x",
        "/explanations/segmenter",
        "/wfpredict/segmenter",
        "/workflows",
        "/token",
        "/v1/models/segmenter:explain",
        "/v1/models/other",
        "/v1/models/other:predict",
        "/v2/models/other/infer",
        "/v2/models/segmenter/stats",
        "/v2/repository/index",
        "/v2/health",
        "/model/",
        "/error",
        "/nowhere",
        "/probe",
        "//models",
    ],
)
def test_all_else_is_closed(front: Gateway, stub: Stub, target: str) -> None:
    before = stub.instance.log("access_log")
    for method in ("GET", "POST"):
        response, content = exchange(front, head(front, method, target, "Content-Length: 0"))
        assert response.status == 404, content
        assert code_of(content) == "not_found"
    # /ready of another test may be on its way; no other request is.
    assert stub.instance.log("access_log") == before


def test_a_version_that_is_not_served(front: Gateway) -> None:
    response, content = exchange(front, head(front, "POST", "/predictions/segmenter/9.9"))
    assert (response.status, code_of(content)) == (404, "not_found")
    by_form = post_form(front, b"hello", "/9.9")
    assert (by_form.status_code, code_of(by_form.content)) == (404, "not_found")
    assert "There is nothing here" in by_form.text


@pytest.mark.parametrize("name", [*FORMATS, *DOCUMENTS])
def test_a_format_needs_no_version_before_it(front: Gateway, name: str) -> None:
    for target in (f"/predictions/segmenter/{name}", f"/predictions/segmenter/{name}/?a=b"):
        _, content = exchange(front, head(front, "POST", target, "Content-Length: 0"))
        headers = json.loads(content)["headers"]
        assert (headers[OUTPUT_HEADER], headers["url_path"]) == (name, "")


def test_several_formats_need_no_version_either(front: Gateway) -> None:
    target = "/predictions/segmenter/mask,json"
    _, content = exchange(front, head(front, "POST", target, "Content-Length: 0"))
    headers = json.loads(content)["headers"]
    assert (headers[OUTPUT_HEADER], headers["url_path"]) == ("mask,json", "")


def test_a_format_in_the_path_outranks_the_header(front: Gateway) -> None:
    lines = (f"{OUTPUT_HEADER}: npy", "Content-Length: 0")
    _, content = exchange(front, head(front, "POST", "/predictions/segmenter/json", *lines))
    assert json.loads(content)["headers"][OUTPUT_HEADER] == "json"


def test_a_version_in_the_path_stays_what_it_is(front: Gateway) -> None:
    for path, suffix in ((VERSION, ""), (f"{VERSION}/mask", "mask")):
        target = f"/predictions/segmenter/{path}"
        _, content = exchange(front, head(front, "POST", target, "Content-Length: 0"))
        headers = json.loads(content)["headers"]
        assert OUTPUT_HEADER not in headers
        assert headers["url_path"] == suffix


@pytest.mark.parametrize(
    "name", ["hologram", "MASK", "mask.png", "mask/mask", "mask,hologram", "maskjson,"]
)
def test_no_other_name_is_taken_for_a_format(front: Gateway, name: str) -> None:
    response, content = exchange(front, head(front, "POST", f"/predictions/segmenter/{name}"))
    assert (response.status, code_of(content)) == (404, "not_found")


def test_torchserve_gets_the_path_as_it_was_checked(front: Gateway, stub: Stub) -> None:
    exchange(front, head(front, "POST", "/models/../%70redictions//segmenter", "Content-Length: 0"))
    assert "/models/.." not in stub.instance.log("access_log")


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_other_methods_are_not_allowed(front: Gateway, method: str) -> None:
    response, content = exchange(front, head(front, method, "/predictions/segmenter"))
    assert response.status == 405
    assert code_of(content) == "method_not_allowed"
    assert response.headers["Allow"] == "GET, HEAD, POST, PUT"


def test_no_header_passes_but_those_the_service_reads(front: Gateway) -> None:
    smuggled = [
        *("describe", "explain", "url_path", "url-path", "Describe", "x-request-id", "Cookie"),
        *(QUERY_HEADER, PROTOCOL_HEADER),
    ]
    passed = {"Accept": "image/png", **dict.fromkeys(HEADERS_READ, "0")}
    lines = [
        *(f"{name}: True" for name in smuggled),
        *(f"{name}: {value}" for name, value in passed.items()),
        "Content-Type: image/png",
        "Content-Length: 5",
    ]
    _, content = exchange(front, head(front, "POST", "/predictions/segmenter", *lines) + b"hello")
    received = json.loads(content)["headers"]
    of_torchserve = {"body": {"content-type": "image/png"}, "explain": "False", "url_path": ""}
    assert {name.lower(): value for name, value in received.items()} == {
        **{name.lower(): value for name, value in passed.items()},
        **of_torchserve,
        "host": received["Host"],
        "content-type": "image/png",
        "content-length": "5",
    }


@pytest.mark.parametrize(
    "target",
    [
        "/predictions/segmenter",
        "/invocations",
        "/models/segmenter/invoke",
        "/v2/models/segmenter/infer",
    ],
)
def test_a_query_goes_along_as_it_is(front: Gateway, target: str) -> None:
    query = "classes=ro%61d%2C1&x=%22'"
    _, content = exchange(front, head(front, "POST", f"{target}?{query}", "Content-Length: 0"))
    received = json.loads(content)
    assert received["headers"][QUERY_HEADER] == query
    assert received["parts"] == {}


@pytest.mark.parametrize(
    ("target", "protocol"),
    [
        ("/predictions/segmenter", None),
        ("/v1/models/segmenter:predict", "kserve"),
        ("/v2/models/segmenter/infer", "open-inference"),
        (f"/v2/models/segmenter/versions/{VERSION}/infer", "open-inference"),
    ],
)
def test_the_service_is_told_of_the_paths_protocol(
    front: Gateway, target: str, protocol: str | None
) -> None:
    _, content = exchange(front, head(front, "POST", target, "Content-Length: 0"))
    assert json.loads(content)["headers"].get(PROTOCOL_HEADER) == protocol


# --- Documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/", "page"),
        ("/model", "model"),
        ("/v1/models/segmenter", "ready"),
        ("/v2/models/segmenter", "metadata"),
        (f"/v2/models/segmenter/versions/{VERSION}", "metadata"),
        ("/v2/models/segmenter/ready", "ready"),
        (f"/v2/models/segmenter/versions/{VERSION}/ready", "ready"),
    ],
)
def test_documents_come_from_the_service(front: Gateway, target: str, name: str) -> None:
    line = f"{OUTPUT_HEADER}: json"
    response, content = exchange(front, head(front, "GET", f"{target}?output=json", line))
    assert response.status == 200, content
    received = json.loads(content)["headers"]
    assert received[OUTPUT_HEADER] == name
    assert QUERY_HEADER not in received
    refused, content = exchange(front, head(front, "POST", target, "Content-Length: 5") + b"hello")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert code_of(content) == "method_not_allowed"


@pytest.mark.parametrize(
    "target",
    ["/", "/model", "/v2", "/v2/models/segmenter", "/openapi.json", "/v1/models/segmenter"],
)
def test_documents_need_the_token(front: Gateway, target: str) -> None:
    response = get(front, target)
    assert (response.status_code, code_of(response.content)) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("probe", "expected"),
    [("/v2/health/live", {"live": True}), ("/v2/health/ready", {"ready": True})],
)
def test_probes_of_the_protocol_do_not(
    front: Gateway, probe: str, expected: dict[str, object]
) -> None:
    response = get(front, probe)
    assert (response.status_code, response.json()) == (200, expected)
    assert response.headers["Content-Type"] == "application/json"


def test_the_server_names_its_protocols_extensions(front: Gateway) -> None:
    response, content = exchange(front, head(front, "GET", "/v2"))
    assert response.status == 200
    assert json.loads(content)["extensions"] == ["binary_tensor_data"]


def test_the_contract_is_of_the_gateways_own_addresses(front: Gateway) -> None:
    response, content = exchange(front, head(front, "GET", "/openapi.json"))
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    document = json.loads(content)
    validate(document)
    assert document["servers"] == [{"url": "/"}]
    assert document["security"] == [{"token": []}]
    for path in document["paths"]:
        target = path.format(version=VERSION, output="mask")
        response, _ = exchange(front, head(front, "GET", target))
        assert response.status == 200, path


@pytest.mark.parametrize(
    "target", ["/v2/models/other", "/v1/models/segmenter", "/v2/models/segmenter?x"]
)
@pytest.mark.parametrize("token", [True, False])
def test_errors_in_the_form_of_kserves_protocols(front: Gateway, target: str, token: bool) -> None:
    request = head(front, "DELETE", target)
    if not token:
        request = request.replace(front.token.encode(), b"0")
    response, content = exchange(front, request)
    assert response.status in (401, 404, 405)
    document = json.loads(content)
    assert list(document) == ["error"]
    assert document["error"].startswith(f"{code_of(content)}: ")


# --- Pages of other origins ----------------------------------------------------------------------

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-segmenter-output",
}
ALLOWED = "https://app.example.org"


def cors_headers(response: requests.Response) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in response.headers.items()
        if name.lower().startswith("access-control-")
    }


@pytest.mark.parametrize(
    ("origins", "origin", "granted"),
    [
        ((ALLOWED, "http://localhost:3000"), ALLOWED, ALLOWED),
        ((ALLOWED, "http://localhost:3000"), "http://localhost:3000", "http://localhost:3000"),
        ((ALLOWED,), "https://app.example.org.evil.example", None),
        ((ALLOWED,), "null", None),
        (("*",), "https://anything.example", "*"),
        ((), ALLOWED, None),
    ],
)
def test_cross_origin_requests(
    start_gateway: Start, stub: Stub, origins: tuple[str, ...], origin: str, granted: str | None
) -> None:
    front = start_gateway(stub.instance.ports.inference, origins=origins)
    path, headers = "/predictions/segmenter", {"Origin": origin}
    preflight = request(front, "OPTIONS", path, headers={**headers, **PREFLIGHT})
    posted = post(front, b"hello", **headers)
    refused = request(front, "POST", path, headers=headers)  # without the token
    assert (posted.status_code, refused.status_code) == (200, 401)
    if granted is None:
        assert preflight.status_code == 401
        assert {**cors_headers(preflight), **cors_headers(posted), **cors_headers(refused)} == {}
        return
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT"
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert set(PREFLIGHT["Access-Control-Request-Headers"].split(",")) <= set(allowed)
    for response in (preflight, posted, refused):
        assert response.headers["Access-Control-Allow-Origin"] == granted
        assert "Model-Version" in response.headers["Access-Control-Expose-Headers"]
        assert response.headers.get("Vary") == (None if granted == "*" else "Origin")
    assert "Access-Control-Allow-Methods" not in posted.headers


def test_a_preflight_is_one(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference, origins=(ALLOWED,))
    options = request(front, "OPTIONS", "/predictions/segmenter", headers={"Origin": ALLOWED})
    assert options.status_code == 401


def test_a_running_gateways_origins_are_known(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference, origins=(ALLOWED, "http://a:1"))
    assert running_in(front.folder) == front


def test_responses_have_the_headers_that_keep_a_page_safe(front: Gateway) -> None:
    for response in (post(front, b"hello"), get(front, "/elsewhere")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Server"] == "nginx"


# --- Bodies ------------------------------------------------------------------------------------


def test_a_body_that_curl_declares_a_form_is_an_image(front: Gateway) -> None:
    body = b"\xff\xd8=%&+\0" * 50  # of a form this would be keys and values, or an error
    response = post(front, body, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert response.json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert response.json()["headers"]["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("boundary", "disposition"),
    [("", 'name="image"'), ("x", 'name=""'), ("x", 'filename="a.jpg"')],
)
def test_a_broken_form_is_the_clients_fault(
    front: Gateway, boundary: str, disposition: str
) -> None:
    part = f"Content-Disposition: form-data; {disposition}\r\n\r\nhello"
    body = f"--{boundary}\r\n{part}\r\n--{boundary}--\r\n".encode()
    response = post(front, body, **{"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert (response.status_code, code_of(response.content)) == (400, "bad_request")
    assert "form" in response.json()["error"]["message"]


@pytest.mark.parametrize("command", ["die of-this-form", "status 500"])
def test_a_valid_form_on_which_the_service_fails_is_not(front: Gateway, command: str) -> None:
    response = post_form(front, command.encode())
    assert (response.status_code, code_of(response.content)) == (500, "internal_error")


def test_a_broken_form_is_sent_to_torchserve_once(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference)
    response = post(front, b"--\r\n", **{"Content-Type": "multipart/form-data; boundary="})
    assert response.status_code == 400
    stop(front.folder)  # so that its log is complete
    assert re.findall(r"torchserve=(.*?) -?[\d.]+s", (front.folder / "access.log").read_text()) == [
        "500"
    ]


def test_a_body_that_waits_for_100_continue(front: Gateway) -> None:
    lines = ("Expect: 100-continue", "Transfer-Encoding: chunked")
    with connected(front) as connection:
        connection.sendall(head(front, "PUT", "/predictions/segmenter", *lines))
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"5\r\nhello\r\n0\r\n\r\n")
        _, content = response_on(connection)
    assert json.loads(content)["sha256"] == hashlib.sha256(b"hello").hexdigest()


def test_a_large_body_arrives_whole(front: Gateway) -> None:
    body = os.urandom(1 << 20) * 8  # more than nginx keeps in memory
    assert post(front, body).json()["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_body_over_the_limit_is_refused_before_it_is_sent(front: Gateway) -> None:
    length = f"Content-Length: {max_request_size() + 1}"
    response, content = exchange(front, head(front, "POST", "/predictions/segmenter", length))
    assert response.status == 413
    assert code_of(content) == "request_too_large"
    assert json.loads(content)["error"]["max_bytes"] == max_request_size()


def test_a_stream_over_the_limit_is_refused(front: Gateway) -> None:
    chunked = head(front, "POST", "/predictions/segmenter", "Transfer-Encoding: chunked")
    size = max_request_size() + 1
    response, content = exchange(front, chunked + f"{size:x}\r\n".encode() + bytes(size))
    assert response.status == 413
    assert code_of(content) == "request_too_large"


# --- nginx's own responses ----------------------------------------------------------------------


def test_invalid_http(front: Gateway) -> None:
    target = "/predictions/segmenter"
    chunked = "Transfer-Encoding: chunked"
    for request in (
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        head(front, "POST", target, "Content-Length: x"),
        head(front, "POST", target, chunked) + b"zz\r\n",
        head(front, "POST", target, chunked, "Content-Length: 5") + b"hello",
        head(front, "POST", target, "Transfer-Encoding: gzip"),
    ):
        response, content = exchange(front, request)
        assert response.status == 400, request
        assert code_of(content) == "bad_request"


def test_plain_http(front: Gateway) -> None:
    response = session().get(f"http://{HOST}:{front.port}/", timeout=TIMEOUT)
    assert response.status_code == 400
    assert code_of(response.content) == "bad_request"


def test_a_long_url_and_long_headers(front: Gateway) -> None:
    response, content = exchange(front, head(front, "GET", "/" + "a" * 9000))
    assert (response.status, code_of(content)) == (414, "address_too_long")
    response, content = exchange(front, head(front, "GET", "/", "X: " + "a" * 9000))
    assert (response.status, code_of(content)) == (431, "headers_too_large")


@pytest.mark.parametrize("status", [400, 406, 413, 415])
def test_the_handlers_own_errors_pass_as_they_are(front: Gateway, status: int) -> None:
    for _ in range(10):  # TorchServe closes with a reset after each, which must not lose it
        response = post(front, f"status {status}".encode())
        assert (response.status_code, response.json()["error"]["code"]) == (
            status,
            "of_the_handler",
        )


def test_no_line_break_ends_a_path(start_gateway: Start) -> None:
    front = start_gateway(torchserve=free_ports().inference)  # nobody there: what goes on is 503
    for path in PATHS:
        for suffix, status in (("", 503), ("%0a", 404)):
            response, _ = exchange(front, head(front, "GET", path + suffix))
            assert response.status == status, path + suffix


def test_torchserve_is_away(start_gateway: Start) -> None:
    front = start_gateway(torchserve=free_ports().inference)
    response = post(front, b"hello")
    assert (response.status_code, code_of(response.content)) == (503, "overloaded")
    assert response.headers["Retry-After"] == "2"
    assert get(front, "/ready").status_code == 503
    assert code_of(get(front, "/ready").content) == "overloaded"
    assert get(front, "/live").json() == {"status": "live"}


def test_a_response_that_does_not_come_in_time(start_gateway: Start) -> None:
    with socket.create_server((HOST, 0)) as silent:
        front = start_gateway(silent.getsockname()[1], ClientLimits(probe_seconds=1))
        assert get(front, "/ready").status_code == 503


# --- Limits ------------------------------------------------------------------------------------


def test_too_many_requests(start_gateway: Start, stub: Stub) -> None:
    limits = ClientLimits(requests_per_second=1, burst=3)
    front = start_gateway(stub.instance.ports.inference, limits)
    responses = [post(front, b"hello") for _ in range(10)]
    assert [response.status_code for response in responses[:4]] == [200] * 4
    assert responses[-1].status_code == 429
    assert code_of(responses[-1].content) == "too_many_requests"
    assert responses[-1].headers["Retry-After"] == "1"
    assert get(front, "/live").status_code == 200  # probes are not counted
    assert get(front, "/ready").status_code == 200


def test_too_many_at_once(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference, ClientLimits(connections=2))
    with ThreadPoolExecutor(6) as clients:
        responses = list(clients.map(lambda _: post(front, b"sleep 0.5"), range(6)))
    statuses = sorted(response.status_code for response in responses)
    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 429
    assert post(front, b"hello").status_code == 200


@pytest.mark.parametrize("send", [post, post_form])
def test_a_full_queue_says_when_to_come_back(
    start_gateway: Start, stub: Stub, send: Callable[[Gateway, bytes], requests.Response]
) -> None:
    front = start_gateway(stub.instance.ports.inference, GENEROUS)
    # One batch of 8 runs, 32 wait, the rest is too much.
    with ThreadPoolExecutor(60) as clients:
        responses = list(clients.map(lambda _: send(front, b"sleep 0.1"), range(60)))
    refused = [response for response in responses if response.status_code != 200]
    assert 1 <= len(refused) <= 30
    for response in refused:
        assert (response.status_code, code_of(response.content)) == (503, "overloaded")
        assert response.headers["Retry-After"] == "2"
        assert response.json()["error"]["retry_after"] == 2


@pytest.mark.parametrize("part", ["handshake", "head", "body"])
def test_slow_clients_are_cut_off(start_gateway: Start, stub: Stub, part: str) -> None:
    front = start_gateway(stub.instance.ports.inference, ClientLimits(client_seconds=1))
    if part == "handshake":
        with socket.create_connection((HOST, front.port), TIMEOUT) as plain:
            assert plain.recv(1) == b""
        return
    whole = head(front, "POST", "/predictions/segmenter", "Content-Length: 100") + b"hello"
    with connected(front) as connection:
        connection.sendall(whole[:40] if part == "head" else whole)
        started = time.monotonic()
        try:
            received = connection.recv(4096)
        except ConnectionResetError:
            received = b""
        assert received == b"" or b" 408 " in received
        assert time.monotonic() - started < 20
    assert post(front, b"hello").status_code == 200


# --- Requests that are saved -------------------------------------------------------------------


def test_a_request_that_kills_every_worker_is_given_up(front: Gateway, stub: Stub) -> None:
    response = post(front, b"die of-this")
    assert (response.status_code, code_of(response.content)) == (500, "internal_error")
    assert (stub.folder / "of-this").read_text() == "xxx"
    assert post(front, b"hello").status_code == 200


def test_the_handlers_own_500_and_503_are_not_retried(front: Gateway, stub: Stub) -> None:
    failed = post(front, b"status 500")
    assert (failed.status_code, code_of(failed.content)) == (500, "internal_error")
    assert len(failed.json()["error"]["request_id"]) == 36  # that in the service's log
    refused = post(front, b"status 503")
    assert (refused.status_code, code_of(refused.content)) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "2"
    assert (stub.folder / "statuses").read_text().split()[-2:] == ["500", "503"]


def test_no_request_fails_while_workers_are_killed(front: Gateway, stub: Stub) -> None:
    """KILLS=20 in the environment makes them twenty, and -s shows the report."""
    kills = int(os.environ.get("KILLS", "3"))
    report = kill_under_load(stub.instance, endpoint_of(front), kills, 6, make_request)
    print(f"\n{report}")
    assert report.load.failed == {}
    assert report.load.outcomes["refused"] == 0


def test_it_is_ready_while_the_model_is(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference, ClientLimits(probe_seconds=1))
    assert get(front, "/ready").json() == {"status": "ready"}
    blocked = stub.folder / "blocked"
    blocked.touch()
    try:
        os.kill(worker_of(stub.instance), signal.SIGKILL)
        wait_for_ready(front, 503)
        assert get(front, "/live").status_code == 200
        # It waits in TorchServe for the worker.
        with ThreadPoolExecutor(1) as client:
            waiting = client.submit(post, front, b"hello")
            assert get(front, "/ready").status_code == 503
            blocked.unlink()
            assert waiting.result().status_code == 200
    finally:
        blocked.unlink(missing_ok=True)
    wait_for_ready(front, 200)


def wait_for_ready(front: Gateway, status: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while get(front, "/ready").status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_many_readiness_probes_cost_one_prediction_a_second(
    start_gateway: Start, stub: Stub
) -> None:
    front = start_gateway(stub.instance.ports.inference)
    before = stub.instance.log("access_log").count("POST /predictions/segmenter")
    started = time.monotonic()
    with ThreadPoolExecutor(4) as clients:
        responses = list(clients.map(lambda _: get(front, "/ready"), range(40)))
    seconds = time.monotonic() - started
    assert [response.status_code for response in responses] == [200] * 40
    predictions = stub.instance.log("access_log").count("POST /predictions/segmenter") - before
    assert 1 <= predictions <= seconds + 2


def test_every_header_that_the_service_reads_is_in_the_template() -> None:
    text = TEMPLATE.read_text("utf-8").lower()
    for name in (*HEADERS_READ, "Accept", "Content-Type"):
        assert f"proxy_set_header {name.lower()} " in text


def test_torchserve_gives_a_worker_up_before_the_gateway_does() -> None:
    waits = re.search(r"proxy_read_timeout (\d+)s;", TEMPLATE.read_text("utf-8"))
    config = yaml.safe_load((ROOT / "model-config.yaml").read_text("utf-8"))
    assert waits is not None
    assert int(waits[1]) > config["responseTimeout"]
    # A service that still responds in time is ready.
    assert ClientLimits().probe_seconds == int(waits[1])


def test_probes_of_one_address_do_not_displace_those_of_another(start_gateway: Start) -> None:
    ready = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        torchserve = stack.enter_context(socket.create_server((HOST, 0)))
        front = start_gateway(torchserve.getsockname()[1])
        clients = stack.enter_context(ThreadPoolExecutor(9))
        others = [stack.enter_context(connected(front, "127.0.0.2")) for _ in range(9)]
        for other in others:
            other.sendall(ready)
        waiting = [clients.submit(response_on, other) for other in others]
        first = next(as_completed(waiting, TIMEOUT)).result()[0]
        assert first.status == 503  # one too many; eight wait
        own = stack.enter_context(connected(front))
        own.sendall(ready)
        own.settimeout(0.5)
        with pytest.raises(TimeoutError):  # it waits as well, and is not refused
            own.recv(1)
        own.settimeout(TIMEOUT)
        probe = stack.enter_context(torchserve.accept()[0])
        probe.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert response_on(own)[0].status == 200


def test_logs_have_a_bound(
    start_gateway: Start, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = start_gateway(stub.instance.ports.inference)
    assert get(front, "/first").status_code == 404
    log, last = front.folder / "access.log", front.folder / "access.log.1"
    gateway.bound_logs(front.folder)
    assert not last.exists()
    monkeypatch.setattr(gateway, "LOG_BYTES", 10)
    gateway.bound_logs(front.folder)
    assert get(front, "/second").status_code == 404
    assert "/first" in last.read_text("utf-8")
    assert "/second" in log.read_text("utf-8")
    assert "/first" not in log.read_text("utf-8")
    assert b"\0" not in log.read_bytes()  # nginx appends


def test_a_drain_loses_nothing(start_gateway: Start, stub: Stub) -> None:
    front = start_gateway(stub.instance.ports.inference)
    temporary = (front.folder / "tmp").resolve()
    with loaded(endpoint_of(front), 6, make_request) as load, ThreadPoolExecutor(1) as client:
        load.wait_for(20)
        slow = client.submit(post, front, b"sleep 1")
        load.wait_for(6)
        assert stop(front.folder)
        assert slow.result().status_code == 200
    assert load.failed == {}
    assert load.outcomes["refused"] == 6
    assert not temporary.exists()
