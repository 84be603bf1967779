"""HTTP requests that attack the service, or are merely unusual: one for every seed.

A request is the bytes on the wire, since an HTTP library would never send most of them.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from scripts.stress.fuzz.hostile_images import hostile_image, valid
from scripts.stress.fuzz.raw_http import BOUNDARY, MODEL_PATH, Part, multipart, request_bytes
from serving.formats import FORMATS

MEDIA_RANGES: Final = (
    *("image/png", "image/jpeg", "application/json", "application/x-npy", "text/html", "*/*"),
    *(
        "application/zip",
        "image/*",
        "image/webp",
        "application/*",
        "video/mp4",
        "*",
        "*/png",
        "image",
        "/",
        ";",
        "",
    ),
)
QUALITY_VALUES: Final = (
    *("", ";q=0", ";q=1", ";q=0.5", ";q=.5", ";q=2", ";q=-1", ";q=nan", ";q=", ";a=b;q=0.1"),
    ";q=1e9",
)
OUTPUT_FORMATS: Final = (*FORMATS, "page", "hologram", "")


@dataclass(frozen=True)
class HostileRequest:
    """`category` is its row of the table; `complete`, whether the client expects a response."""

    seed: int
    category: str
    wire: bytes
    complete: bool = True


def hostile_request(seed: int) -> HostileRequest:
    """The request of this seed, byte for byte the same in every run."""
    random = Random(seed)
    (maker,) = random.choices([*REQUEST_MAKERS], [*REQUEST_MAKERS.values()])
    return maker(random, seed)


def image_body(random: Random, seed: int) -> HostileRequest:
    """A hostile image in a well-formed request."""
    category, body = hostile_image(random)
    headers = {}
    if random.random() < 0.5:
        headers["Content-Type"] = random.choice(("image/jpeg", "application/octet-stream"))
    if random.random() < 0.3:
        headers["Accept"] = random.choice(MEDIA_RANGES[:6])
    return HostileRequest(seed, f"image {category}", request_bytes(body, headers))


def json_body(random: Random, seed: int) -> HostileRequest:
    """JSON, or what is declared as such."""
    image = base64.b64encode(valid(random)).decode()
    if random.random() < 0.3:
        image = corrupted_text(random, image)
    depth = random.choice((10, 900, 100_000))
    count = random.choice((2, 5000, 300_000))
    odd: object = random.choice(
        (None, True, -1, 1e308, [], {}, [[]], "", "data:,", "http://127.0.0.1/", image)
    )
    contents: list[object] = [
        {"image": image},
        {"instances": [{"b64": image}] * random.choice((0, 1, 2))},
        {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}]},
        {
            "inputs": [
                {"name": "i", "shape": [-1], "datatype": random.choice(("FP32", 7)), "data": odd}
            ]
        },
        {"inputs": odd, "instances": odd, "parameters": odd},
        {"image": odd},
        {"image": {"b64": odd}},
        {
            "image": image,
            "output": random.choice((odd, *OUTPUT_FORMATS)),
            "classes": odd,
            "threshold": odd,
        },
        odd,
    ]
    text = json.dumps(random.choice(contents)).encode()
    body = random.choice(
        (
            *(text, text, text, text[: random.randrange(len(text) + 1)]),
            corrupted_text(random, text.decode()).encode(),
            text.decode().encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7"))),
            b"[" * depth,
            b'{"image":' * depth + b"1" + b"}" * depth,
            b"[" + b",".join([random.choice((b"{}", b"[]", b"1", b'""'))] * count) + b"]",
            b'{"image": "a", "image": ' + text + b"}",
            b'{"image": %s}' % random.choice((b"NaN", b"-Infinity", b"1e999", b"1" * 9000)),
            b'{"image": "\\ud800\\u0000\xff"}',
            random.randbytes(random.choice((0, 1, 500))),
        )
    )
    declared = random.choice(("application/json", "application/json; charset=utf-8", "text/json"))
    path = random.choice(
        (MODEL_PATH, MODEL_PATH, "/v1/models/segmenter:predict", "/v2/models/segmenter/infer")
    )
    return HostileRequest(seed, "json", request_bytes(body, {"Content-Type": declared}, path))


def form_body(random: Random, seed: int) -> HostileRequest:
    """multipart/form-data, mostly malformed."""
    file = valid(random) if random.random() < 0.5 else hostile_image(random)[1][:100_000]
    name = random.choice(
        ("image", "file", "body", "", "a" * 5000, 'x"y', "\u00e9", "output", "\r\n")
    )
    output = Part("output", random.choice(OUTPUT_FORMATS).encode())
    file_part = Part(
        name, file, {"filename": random.choice(("a.jpg", "", "../../etc/passwd", "a" * 300))}
    )
    layouts: tuple[list[Part], ...] = (
        [file_part],
        [file_part, output],
        [output],
        [],
        [file_part] * random.choice((2, 300)),
        [Part(f"f{index}", b"x", {"filename": "x"}) for index in range(random.choice((2, 2000)))],
        [Part(name, file)],
    )
    parts = random.choice(layouts)
    body = multipart(parts, random.choice(("image/jpeg", "application/json", "text/plain", "")))
    boundary = "boundary=" + BOUNDARY.decode()
    declared = random.choice((boundary, boundary, "", "boundary=wrong"))
    if random.random() < 0.3:
        body = body[: random.randrange(len(body) + 1)]
    headers = {"Content-Type": f"multipart/form-data; {declared}"}
    return HostileRequest(seed, "multipart", request_bytes(body, headers))


def several(random: Random, seed: int) -> HostileRequest:
    """Several images or several formats, of which some are hostile."""
    count = random.choice((1, 2, 5, 33))
    images = [valid(random) for _ in range(count)]
    if count < 33 and random.random() < 0.5:
        images[-1] = hostile_image(random)[1][:100_000]
    names = random.choices(("a.jpg", "../a", "a" * 300, "\u00e9/b", "", "C:\\x"), k=count)
    outputs = ",".join(random.choices(OUTPUT_FORMATS, k=random.choice((1, 2, 12))))
    if random.random() < 0.5:
        numbers = random.sample(range(1000), count)
        parts = [
            *(Part(f"image{n}", image) for n, image in zip(numbers, images)),
            *(Part(f"name{n}", name.encode()) for n, name in zip(numbers, names)),
            Part("output", outputs.encode()),
        ]
        declared = "multipart/form-data; boundary=" + BOUNDARY.decode()
        body = multipart(random.sample(parts, len(parts)), "image/jpeg")
        return HostileRequest(seed, "several", request_bytes(body, {"Content-Type": declared}))
    texts = [base64.b64encode(image).decode() for image in images]
    shape = random.choice(([count], [1, count], [-1], count))
    tensor = {"name": "image", "shape": shape, "datatype": "BYTES", "data": texts}
    document: dict[str, object] = {"inputs": [tensor]}
    if random.random() < 0.5:
        document = {"instances": [{"b64": text} for text in texts]}
    document["name"] = random.choice((names, names[0], None))
    if random.random() < 0.5:
        document["output"] = random.choice((outputs, outputs.split(",")))
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json", "Accept": random.choice(MEDIA_RANGES[:6])}
    return HostileRequest(seed, "several", request_bytes(body, headers))


def tensor(random: Random, seed: int) -> HostileRequest:
    """Pixels as numbers, in JSON or raw, perhaps compressed, with options in the query."""
    height, width = random.choice(((4, 6), (64, 64), (0, 5), (1, 20_001), (2**31, 2**33)))
    count = min(height * width * 3, 200_000)
    shape: object = random.choice(([1, height, width, 3], [height, width, 3], [count], [-1], "x"))
    datatype = random.choice(("UINT8", "UINT8", "UINT8", "FP32", "BYTES"))
    document: dict[str, object] = {"name": "image", "shape": shape, "datatype": datatype}
    headers = {"Content-Type": "application/json"}
    numbers = random.choice((b"255", b"0", b"-1", b"1.5", b"1e9", b"", b"9" * 400, b"[[7]]"))
    raw = random.randbytes(random.choice((count, count, 7)))
    if random.random() < 0.5:
        document["parameters"] = {"binary_data_size": random.choice((len(raw), 1, None))}
        head = json.dumps({"inputs": [document]}).encode()
        headers["Inference-Header-Content-Length"] = str(len(head))
        body = head + raw
    else:
        listed = b",".join([random.choice((b"255", numbers))] * max(1, count))
        text = json.dumps({"inputs": [{**document, "data": 0}]}).encode()
        body = text.replace(b'"data": 0', b'"data": [' + listed + b"]")
        body = random.choice((body, body, b'{"image":{"type":"Buffer","data":[' + listed + b"]}}"))
        body = random.choice((body, body, b"[" + b'{"data":[1]},' * 100_000 + body + b"]"))
    coding = random.choice((*[""] * 6, *["gzip"] * 4, "br", "gzip, gzip"))
    if coding:
        headers["Content-Encoding"] = coding
        bomb = bytes(random.choice((10, 60_000_000)))
        body = gzip.compress(random.choice((body, body, bomb)), 1, mtime=0)
        body = random.choice((body, body, body[: random.randrange(len(body))], body + b"x"))
    query = random.choice(
        (
            *[""] * 6,
            "?output=json",
            "?treshold=1",
            "?classes=a&classes=b",
            "?%zz&=&&a",
            "?" + "a=b&" * 500,
        )
    )
    path = random.choice((MODEL_PATH, "/v2/models/segmenter/infer")) + query
    return HostileRequest(seed, "tensor", request_bytes(body, headers, path))


def urlencoded(random: Random, seed: int) -> HostileRequest:
    """What `curl --data-binary` makes of a file: bytes that are declared as a form."""
    fields = b"&".join(
        b"f%d=%%%02x" % (index, index % 256) for index in range(random.choice((1, 3000)))
    )
    body = random.choice((valid(random), fields, b"image=%zz", b"=&=&==", b"output=json", b"%"))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return HostileRequest(seed, "urlencoded", request_bytes(body, headers))


def odd_headers(random: Random, seed: int) -> HostileRequest:
    """Headers that TorchServe uses internally, and values that no header should have."""
    value = random.choice(
        (
            *("True", "true", "False", "0", "", " ", "\u00e9\u00ff", "\x01\x7f", "a" * 7000, "{}"),
            *("%s%n", "../..", "image/png\tx", "-1", "NaN", "segmenter", "identity, gzip;q=0"),
        )
    )
    names = random.sample(
        (
            *("describe", "explain", "url_path", "Describe", "EXPLAIN", "body", "image", "data"),
            *("X-Request-Id", "Content-Encoding", "Accept-Encoding", "Range", "Cookie", "Expect"),
            *("Origin", "ts_request_sequence_id", "ts_stream_next", "Connection", "Upgrade"),
            *("If-None-Match", "Transfer-Encoding", "Inference-Header-Content-Length", "Host"),
        ),
        random.choice((1, 1, 2, 5)),
    )
    headers = dict.fromkeys(names, value)
    many = {f"X-{index}": "y" for index in range(random.choice((0, 0, 900)))}
    return HostileRequest(seed, "headers", request_bytes(valid(random), {**headers, **many}))


def accept(random: Random, seed: int) -> HostileRequest:
    """Accept headers of every shape."""
    count = random.choice((1, 2, 5, 60, 300))
    text = random.choice((",", ", ", ";", " ,,")).join(
        random.choice(MEDIA_RANGES) + random.choice(QUALITY_VALUES) for _ in range(count)
    )
    text = corrupted_text(random, text) if random.random() < 0.3 else text
    one_line = text.replace("\r", " ").replace("\n", " ")
    return HostileRequest(seed, "accept", request_bytes(valid(random), {"Accept": one_line[:7000]}))


def odd_path(random: Random, seed: int) -> HostileRequest:
    """Suffixes, versions, queries and neighbours of the prediction's path; all methods."""
    tail = random.choice(
        (
            *(f"/1.0/{name}" for name in OUTPUT_FORMATS),
            *("/", "//", "/9.9", "/1.0//mask", "/1.0/mask/", "/1.0/mask/mask"),
            "/1.0/" + "a" * 3000,
            *("/%00", "/1.0/%ff%fe", "/1.0/..%2f..", "/../../ping", "/1.0/mask;x=y", "?output=npy"),
            *("/1.0/mask?a=b", "#mask", "/1.0/%zz", "/1.0/\u00e9", "/1.0/{}", "/1.0/%0d%0aX:%20y"),
        )
    )
    path = random.choice(
        (
            *(MODEL_PATH + tail, MODEL_PATH + tail, MODEL_PATH + tail),
            "/models/segmenter/invoke" + tail,
            *("/invocations" + tail, "/segmenter/predict" + tail, "/explanations/segmenter" + tail),
            *("/predictions" + tail, "/predictions/other" + tail),
            *("/ping", "/", "/api-description", "/models", "/workflows", "/v2/health/ready", "*"),
        )
    )
    method = random.choice(
        ("POST", "POST", "POST", "PUT", "GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "get")
    )
    body = valid(random) if random.random() < 0.8 else b""
    return HostileRequest(seed, "path", request_bytes(body, {}, path.replace(" ", "%20"), method))


def broken_http(random: Random, seed: int) -> HostileRequest:
    """Not HTTP, or cut off. A client that sends this need not get a response."""
    request = request_bytes(valid(random), {"Content-Type": "image/jpeg"})
    head, _, body = request.partition(b"\r\n\r\n")
    length = b"Content-Length: %d" % len(body)
    chunked = head.replace(length, b"Transfer-Encoding: chunked") + b"\r\n\r\n"
    size = random.choice((b"ffffffffffffffff", b"-1", b"zz", b"", b"7fffffff", b"1;" + b"x" * 5000))
    many_trailers = b"\r\n0\r\n" + b"A: b\r\n" * 500 + b"\r\n"
    wire = random.choice(
        (
            request[: random.randrange(len(request))],
            request.replace(
                length, b"Content-Length: " + random.choice((b"-1", b"x", b"99999", b"9" * 30))
            ),
            request.replace(length, length + b"\r\nContent-Length: 3"),
            request.replace(length, length + b"\r\nTransfer-Encoding: chunked"),
            chunked + size + b"\r\n" + body,
            chunked + b"%x\r\n" % len(body) + body + many_trailers,
            request.replace(b"HTTP/1.1", random.choice((b"HTTP/0.9", b"HTTP/9.9", b"", b"ICY"))),
            request.replace(b"Host: localhost\r\n", b"\0: \0\r\n"),
            random.randbytes(random.choice((1, 100, 5000))),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + random.randbytes(500),
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            request + request[: random.randrange(len(request))],
        )
    )
    return HostileRequest(seed, "broken http", wire, complete=False)


# Relative frequencies.
REQUEST_MAKERS: Final[dict[Callable[[Random, int], HostileRequest], int]] = {
    image_body: 60,
    json_body: 12,
    form_body: 8,
    several: 4,
    tensor: 6,
    urlencoded: 2,
    odd_headers: 6,
    accept: 4,
    odd_path: 5,
    broken_http: 3,
}


def corrupted_text(random: Random, text: str) -> str:
    """`text` with an odd character inserted, up to 3 characters removed, or both."""
    start = random.randrange(len(text) + 1)
    odd = random.choice(("\u00e9", "\0", "\\", '"', " ", "-", "=", "%", "\n", "\U0001f600", ""))
    return text[:start] + odd + text[start + random.choice((0, 1, 3)) :]
