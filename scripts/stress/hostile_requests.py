"""HTTP requests that are out to do harm, or only odd: one for every seed, byte for byte.

A request is the bytes that go over the wire, since what is odd in it is often what a well-behaved
client would never send.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from scripts.stress.hostile_images import honest, hostile_image
from serving.formats import OUTPUTS

MODEL_PATH: Final = "/predictions/segmenter"
MEDIA_TYPES: Final = (
    *("image/png", "image/jpeg", "application/json", "application/x-npy", "text/html", "*/*"),
    *("image/*", "image/webp", "application/*", "video/mp4", "*", "*/png", "image", "/", ";", ""),
)
CONTENT_TYPES: Final = (
    *("image/jpeg", "image/png", "application/octet-stream", "application/json", "text/plain", ""),
    *("Application/JSON; charset=latin-1", "multipart/form-data", "multipart/mixed; boundary="),
    *("image/jpeg; " + "x" * 2000, "application/json;;;", "\u00ff/\u00fe", "image/jpeg, text/html"),
)
ASKED_OUTPUTS: Final = (*OUTPUTS, "page", "hologram", "")
BOUNDARY: Final = b"f7u2z2z9"


@dataclass(frozen=True)
class Input:
    """One request. `kind` is a line of the table; `whole`, whether its sender awaits an answer."""

    seed: int
    kind: str
    request: bytes
    whole: bool = True


Part = tuple[str, bytes, dict[str, str] | None]


def hostile_request(seed: int) -> Input:
    """The request that belongs to a seed."""
    random = Random(seed)
    (maker,) = random.choices([*MAKERS], [*MAKERS.values()])
    return maker(random, seed)


def image_body(random: Random, seed: int) -> Input:
    """A hostile image, sent as it should be."""
    kind, body = hostile_image(random)
    headers = {}
    if random.random() < 0.5:
        headers["Content-Type"] = random.choice(("image/jpeg", "application/octet-stream"))
    if random.random() < 0.3:
        headers["Accept"] = random.choice(MEDIA_TYPES[:6])
    return Input(seed, f"image {kind}", http(body, headers))


def json_body(random: Random, seed: int) -> Input:
    """JSON, or what is declared as such."""
    image = base64.b64encode(honest(random)).decode()
    if random.random() < 0.3:
        image = spoiled_text(random, image)
    depth = random.choice((10, 900, 100_000))
    count = random.choice((2, 5000, 300_000))
    odd: object = random.choice(
        (None, True, -1, 1e308, [], {}, [[]], "", "data:,", "http://127.0.0.1/", image)
    )
    documents: list[object] = [
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
            "output": random.choice((odd, *ASKED_OUTPUTS)),
            "classes": odd,
            "threshold": odd,
        },
        odd,
    ]
    text = json.dumps(random.choice(documents)).encode()
    body = random.choice(
        (
            *(text, text, text, text[: random.randrange(len(text) + 1)]),
            spoiled_text(random, text.decode()).encode(),
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
    return Input(seed, "json", http(body, {"Content-Type": declared}, path))


def form_body(random: Random, seed: int) -> Input:
    """multipart/form-data, mostly broken."""
    file = honest(random) if random.random() < 0.5 else hostile_image(random)[1][:100_000]
    name = random.choice(
        ("image", "file", "body", "", "a" * 5000, 'x"y', "\u00e9", "output", "\r\n")
    )
    output: Part = ("output", random.choice(ASKED_OUTPUTS).encode(), None)
    file_part: Part = (
        name,
        file,
        {"filename": random.choice(("a.jpg", "", "../../etc/passwd", "a" * 300))},
    )
    shapes: tuple[list[Part], ...] = (
        [file_part],
        [file_part, output],
        [output],
        [],
        [file_part] * random.choice((2, 300)),
        [(f"f{index}", b"x", {"filename": "x"}) for index in range(random.choice((2, 2000)))],
        [(name, file, None)],
    )
    parts = random.choice(shapes)
    body = multipart(parts, random.choice(("image/jpeg", "application/json", "text/plain", "")))
    declared = random.choice(
        ("boundary=" + BOUNDARY.decode(), "boundary=" + BOUNDARY.decode(), "", "boundary=wrong")
    )
    if random.random() < 0.3:
        body = body[: random.randrange(len(body) + 1)]
    headers = {"Content-Type": f"multipart/form-data; {declared}"}
    return Input(seed, "multipart", http(body, headers))


def urlencoded(random: Random, seed: int) -> Input:
    """What `curl --data-binary` makes of a file: bytes that are declared as a form."""
    fields = b"&".join(
        b"f%d=%%%02x" % (index, index % 256) for index in range(random.choice((1, 3000)))
    )
    body = random.choice((honest(random), fields, b"image=%zz", b"=&=&==", b"output=json", b"%"))
    return Input(
        seed, "urlencoded", http(body, {"Content-Type": "application/x-www-form-urlencoded"})
    )


def odd_headers(random: Random, seed: int) -> Input:
    """Headers that TorchServe uses itself, and values that no header should have."""
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
    return Input(seed, "headers", http(honest(random), {**headers, **many}))


def accept(random: Random, seed: int) -> Input:
    """Accept lists of every shape."""
    weights = (
        "",
        ";q=0",
        ";q=1",
        ";q=0.5",
        ";q=.5",
        ";q=2",
        ";q=-1",
        ";q=nan",
        ";q=",
        ";a=b;q=0.1",
        ";q=1e9",
    )
    count = random.choice((1, 2, 5, 60, 300))
    text = random.choice((",", ", ", ";", " ,,")).join(
        random.choice(MEDIA_TYPES) + random.choice(weights) for _ in range(count)
    )
    text = spoiled_text(random, text) if random.random() < 0.3 else text
    return Input(seed, "accept", http(honest(random), {"Accept": header_text(text)[:7000]}))


def odd_path(random: Random, seed: int) -> Input:
    """Suffixes, versions, queries and neighbours of the prediction's path; all methods."""
    tail = random.choice(
        (
            *(f"/1.0/{name}" for name in ASKED_OUTPUTS),
            *(
                "/",
                "//",
                "/9.9",
                "/1.0//mask",
                "/1.0/mask/",
                "/1.0/mask/mask",
                "/1.0/" + "a" * 3000,
            ),
            *("/%00", "/1.0/%ff%fe", "/1.0/..%2f..", "/../../ping", "/1.0/mask;x=y", "?output=npy"),
            *("/1.0/mask?a=b", "#mask", "/1.0/%zz", "/1.0/\u00e9", "/1.0/{}", "/1.0/%0d%0aX:%20y"),
        )
    )
    path = random.choice(
        (
            *(MODEL_PATH + tail, MODEL_PATH + tail, MODEL_PATH + tail),
            *(
                "/models/segmenter/invoke" + tail,
                "/invocations" + tail,
                "/segmenter/predict" + tail,
            ),
            *("/explanations/segmenter" + tail, "/predictions" + tail, "/predictions/other" + tail),
            *("/ping", "/", "/api-description", "/models", "/workflows", "/v2/health/ready", "*"),
        )
    )
    method = random.choice(
        ("POST", "POST", "POST", "PUT", "GET", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "get")
    )
    body = honest(random) if random.random() < 0.8 else b""
    return Input(seed, "path", http(body, {}, path.replace(" ", "%20"), method))


def wire(random: Random, seed: int) -> Input:
    """What is no HTTP, or ends in the middle. Whoever sends that need not get an answer."""
    request = http(honest(random), {"Content-Type": "image/jpeg"})
    head, _, body = request.partition(b"\r\n\r\n")
    length = b"Content-Length: %d" % len(body)
    chunked = head.replace(length, b"Transfer-Encoding: chunked")
    size = random.choice((b"ffffffffffffffff", b"-1", b"zz", b"", b"7fffffff", b"1;" + b"x" * 5000))
    broken = random.choice(
        (
            request[: random.randrange(len(request))],
            request.replace(
                length, b"Content-Length: " + random.choice((b"-1", b"x", b"99999", b"9" * 30))
            ),
            request.replace(length, length + b"\r\nContent-Length: 3"),
            request.replace(length, length + b"\r\nTransfer-Encoding: chunked"),
            chunked + b"\r\n\r\n" + size + b"\r\n" + body,
            chunked
            + b"\r\n\r\n%x\r\n" % len(body)
            + body
            + b"\r\n0\r\n"
            + b"A: b\r\n" * 500
            + b"\r\n",
            request.replace(b"HTTP/1.1", random.choice((b"HTTP/0.9", b"HTTP/9.9", b"", b"ICY"))),
            request.replace(b"Host: localhost\r\n", b"\0: \0\r\n"),
            random.randbytes(random.choice((1, 100, 5000))),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + random.randbytes(500),
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            request + request[: random.randrange(len(request))],
        )
    )
    return Input(seed, "wire", broken, whole=False)


# How often each is made.
MAKERS: Final[dict[Callable[[Random, int], Input], int]] = {
    image_body: 60,
    json_body: 12,
    form_body: 8,
    urlencoded: 2,
    odd_headers: 6,
    accept: 4,
    odd_path: 5,
    wire: 3,
}


def http(
    body: bytes, headers: dict[str, str], path: str = MODEL_PATH, method: str = "POST"
) -> bytes:
    """A request that is right but for what it was given."""
    all_headers = {
        "Host": "localhost",
        "Connection": "close",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {all_headers[name]}" for name in all_headers)]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def multipart(parts: list[Part], content_type: str) -> bytes:
    """The parts, each with its name, content and further attributes."""
    body = b""
    for name, content, attributes in parts:
        disposition = f'form-data; name="{name}"'
        for key in attributes or {}:
            disposition += f'; {key}="{(attributes or {})[key]}"'
        head = f"Content-Disposition: {disposition}\r\n"
        if attributes and content_type:
            head += f"Content-Type: {content_type}\r\n"
        body += b"--" + BOUNDARY + b"\r\n" + head.encode() + b"\r\n" + content + b"\r\n"
    return body + b"--" + BOUNDARY + b"--\r\n"


def spoiled_text(random: Random, text: str) -> str:
    """One odd character put in, or a piece cut out."""
    start = random.randrange(len(text) + 1)
    odd = random.choice(("\u00e9", "\0", "\\", '"', " ", "-", "=", "%", "\n", "\U0001f600", ""))
    return text[:start] + odd + text[start + random.choice((0, 1, 3)) :]


def header_text(text: str) -> str:
    """`text` on one line."""
    return text.replace("\r", " ").replace("\n", " ")
