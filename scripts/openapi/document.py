"""The OpenAPI 3.1 document of the service, out of the code that serves it.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from imaging import Limits
from model.preset import Preset
from scripts.common.version import project_version
from scripts.openapi.examples import DIGEST, IMAGE, PRECISION, errors, json_inputs
from scripts.openapi.examples import responses as example_responses
from scripts.openapi.gateway_paths import GATEWAY, gateway_paths
from scripts.openapi.schemas import (
    CARD,
    ERROR,
    FRONTEND_ERROR,
    MANAGED,
    OUTPUT_SCHEMAS,
    PROTOCOL_ERROR,
    SHARE,
    TEXT,
    any_of,
    array,
)
from serving.formats import FORMATS
from serving.response.combine import ERROR_SUFFIX
from serving.response.model_card import model_card
from serving.types import ModelInfo, Response
from serving.wire import CARD as CARD_OUTPUT
from serving.wire import (
    JSON,
    JSON_SHAPES,
    OPTION_DESCRIPTIONS,
    OPTION_HEADERS,
    OUTPUT,
    OUTPUT_HEADER,
    PAGE,
    PAGE_MEDIA_TYPE,
    ZIP,
)

Json = dict[str, object]

IMAGE_TEXT = base64.b64encode(IMAGE).decode("ascii")

STATUS_MEANINGS = {
    400: "The request or its image is invalid.",
    406: "No output format has a media type that Accept allows.",
    413: "The image is beyond a limit, or its response would be.",
    415: "Not an image in a supported format.",
    500: "A fault of the service.",
    503: "Overloaded; Retry-After says after how many seconds to try again.",
}

ANY_ERROR: Json = {
    "anyOf": [
        {"$ref": "#/components/schemas/Error"},
        {"$ref": "#/components/schemas/ProtocolError"},  # of a document in KServe's protocols
        {"$ref": "#/components/schemas/TorchServeError"},
    ]
}

PATH = "/predictions/segmenter"
IMAGE_TYPES = (
    *("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif"),
    *("image/avif", "image/heic"),
)

# One output format, or several.
OUTPUTS: Json = {"type": "string", "pattern": "^({0})(,({0}))*$".format("|".join(FORMATS))}

DESCRIPTION = """\
An image in, the class of each of its pixels out. The image is the body, a part of a form, or base64
in JSON, each of them as it is or with Content-Encoding: gzip. The output format is named by the end
of the path (after a version), by a field, JSON key or query parameter `output`, by the header
`X-Segmenter-Output`, or chosen by `Accept`. All figures are of the upright image, in its own
pixels. Query parameters reach the service through the gateway; TorchServe drops them.

Several formats, with commas between, come as files in a ZIP archive. So do several images, the
parts `image0`, `image1`, ... of a form or the instances of KServe's protocol, in one format that is
not JSON; in one that is JSON they come as a list, in their protocol as its own. A failed image is
its error, in the list, or as a file NAME.error.json. At most 32 images share the limits of one.

Where no worker sees the request, TorchServe responds itself, in a JSON form of its own: 500 when a
form is broken or a worker dies, 503 when the queue is full. 413 over 48 MiB has no body.
"""


def document(preset: Preset) -> Json:
    """Examples are of the model `preset`; all else is the same for every model."""
    info = ModelInfo(preset.name, "1.0", DIGEST, PRECISION)
    card = model_card(preset, info, Limits())
    # TorchServe embeds the card in its own list of the model's versions.
    versions = [{"modelName": "segmenter", "modelVersion": "1.0", "customizedMetadata": card}]
    examples = example_responses(preset)
    _, kserve, open_inference, _ = JSON_SHAPES
    segmentation: Json = {
        "description": "The segmentation in the format that was named or chosen.",
        "headers": signature_headers(),
        "content": with_several(response_content(examples)),
    }
    responses = {"200": segmentation, **refusals(errors(preset))}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Segmenter", "version": project_version(), "description": DESCRIPTION},
        "servers": [{"url": "http://127.0.0.1:8080", "description": "TorchServe"}, GATEWAY],
        "paths": {
            PATH: {
                "post": segmenting("segment", "Segment an image.", responses),
                "get": {
                    "operationId": "page",
                    "summary": "The viewer, a page to try it in a browser; or the model card.",
                    "parameters": [
                        {
                            "name": OUTPUT_HEADER,
                            "in": "header",
                            "description": "which of the two; without it, Accept decides",
                            "schema": {"enum": [PAGE, CARD_OUTPUT]},
                        }
                    ],
                    "responses": {
                        "200": {
                            "description": "One page, complete in itself; or the model card.",
                            "content": {
                                PAGE_MEDIA_TYPE: {"schema": TEXT},
                                JSON: {"schema": CARD, "examples": {"card": {"value": card}}},
                            },
                        }
                    },
                },
            },
            f"{PATH}/{{version}}/{{output}}": {
                "post": segmenting("segmentAs", "Segment, in a named format.", responses),
                "parameters": [
                    {
                        "name": "version",
                        "in": "path",
                        "required": True,
                        "description": "The archive's, as in Model-Version.",
                        "schema": TEXT,
                    },
                    {
                        "name": "output",
                        "in": "path",
                        "required": True,
                        "schema": {"enum": list(FORMATS)},
                    },
                ],
            },
            "/v1/models/segmenter:predict": {"post": protocol("kserve", examples, kserve)},
            "/v2/models/segmenter/infer": {
                "post": protocol("open-inference", examples, open_inference)
            },
            "/models/segmenter": {
                "servers": [{"url": "http://127.0.0.1:8081"}],
                "get": {
                    "operationId": "card",
                    "summary": "The model card: labels, palette, limits, output formats.",
                    "parameters": [
                        {
                            "name": "customized",
                            "in": "query",
                            "required": True,
                            "schema": {"const": "true"},
                        }
                    ],
                    "responses": {
                        "200": {
                            "description": "The model card.",
                            "content": {
                                JSON: {
                                    "schema": MANAGED,
                                    "examples": {"card": {"value": versions}},
                                }
                            },
                        }
                    },
                },
            },
            **gateway_paths(preset, info, card),
        },
        "components": {
            "requestBodies": {"Image": {"required": True, "content": inputs()}},
            "responses": {response_name(status): one for status, one in responses.items()},
            "schemas": {
                **{schema_name(name): schema for name, schema in OUTPUT_SCHEMAS.items()},
                "Error": ERROR,
                "ProtocolError": PROTOCOL_ERROR,
                "TorchServeError": FRONTEND_ERROR,
            },
        },
    }


def segmenting(name: str, summary: str, statuses: Iterable[str]) -> Json:
    """Any input, any output format, any error."""
    return {
        "operationId": name,
        "summary": summary,
        "parameters": options(),
        "requestBody": {"$ref": "#/components/requestBodies/Image"},
        "responses": {
            status: {"$ref": f"#/components/responses/{response_name(status)}"}
            for status in statuses
        },
    }


def protocol(output: str, examples: Mapping[str, Response], shape: str) -> Json:
    """A path whose requests and responses have one form."""
    example_request = {"image": {"value": json.loads(shape.replace("<base64>", IMAGE_TEXT))}}
    return {
        "operationId": output,
        "summary": FORMATS[output].content,
        "parameters": options(),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"type": "object"}, "examples": example_request}},
        },
        "responses": {
            "200": {
                "description": FORMATS[output].content,
                "headers": signature_headers(),
                "content": response_content({output: examples[output]}),
            },
            "default": {
                "description": "An error, in the protocol's own form where the service knows it.",
                "content": {JSON: {"schema": ANY_ERROR}},
            },
        },
    }


def inputs() -> Json:
    fields: Json = {
        "image": {"type": "string", "contentMediaType": "application/octet-stream"},
        "output": OUTPUTS,
        **{
            name: {"type": "string", "description": text}
            for name, text in OPTION_DESCRIPTIONS.items()
        },
    }
    documents = {
        shape: {"value": value} for shape, value in zip(("plain", "v1", "v2", "hf"), json_inputs())
    }
    return {
        **{media_type: {} for media_type in IMAGE_TYPES},
        "image/png": {"examples": {"image": {"externalValue": data_url("image/png", IMAGE)}}},
        "multipart/form-data": {
            "schema": {"type": "object", "required": ["image"], "properties": fields},
            "examples": {"form": {"value": {"image": "<the file>", "output": "json"}}},
        },
        JSON: {
            "schema": {"type": "object", "description": " or ".join(JSON_SHAPES)},
            "examples": documents,
        },
    }


def options() -> list[Json]:
    """Output format and options as headers and in the query, beside those in a form or JSON."""
    schemas: Json = {"classes": TEXT, "threshold": SHARE, "name": TEXT}
    return [
        {
            "name": OUTPUT_HEADER,
            "in": "header",
            "description": f"{', '.join(f'`{name}`' for name in FORMATS)}; or several with commas "
            "between, if they are files; without it Accept decides",
            "schema": OUTPUTS,
        },
        *(
            {
                "name": OPTION_HEADERS[name],
                "in": "header",
                "description": content,
                "schema": schemas[name],
            }
            for name, content in OPTION_DESCRIPTIONS.items()
        ),
        *(
            {
                "name": name,
                "in": "query",
                "description": f"as {header}; behind the gateway",
                "schema": schema,
            }
            for name, header, schema in (
                (OUTPUT, OUTPUT_HEADER, OUTPUTS),
                *((name, OPTION_HEADERS[name], schemas[name]) for name in OPTION_DESCRIPTIONS),
            )
        ),
    ]


def response_content(responses: Mapping[str, Response]) -> Json:
    """By media type, with an example of every output format."""
    names_of: dict[str, list[str]] = {}
    for name, response in responses.items():
        names_of.setdefault(response.content_type, []).append(name)
    content: Json = {}
    for media_type, names in names_of.items():
        schemas = [reference(name) for name in names if name in OUTPUT_SCHEMAS]
        content[media_type] = {
            **(
                {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
                if schemas
                else {}
            ),
            "examples": {name: example(responses[name], FORMATS[name].content) for name in names},
        }
    return content


def with_several(content: Json) -> Json:
    """The content of responses that may be to several images, or in several formats."""
    files = ["photo.jpg" + entry.suffix for entry in FORMATS.values() if entry.suffix]
    several: Json = {}
    for media_type, one in content.items():
        if is_json(media_type) and isinstance(one, dict):
            items = any_of(one["schema"], {"$ref": "#/components/schemas/Error"})
            one = {**one, "schema": any_of(one["schema"], array(items))}
        several[media_type] = one
    several[ZIP] = {
        "schema": {"description": f"files such as {', '.join(files)}, photo.jpg{ERROR_SUFFIX}"}
    }
    return several


def example(response: Response, summary: str) -> Json:
    if is_json(response.content_type):
        return {"summary": summary, "value": json.loads(response.body)}
    return {"summary": summary, "externalValue": data_url(response.content_type, response.body)}


def refusals(errors: Iterable[Response]) -> Json:
    """Error responses by status, with an example of every code."""
    by_status: dict[str, Json] = {}
    for error in errors:
        body = json.loads(error.body)
        entry = by_status.setdefault(
            str(error.status),
            {
                "description": STATUS_MEANINGS[error.status],
                "content": {JSON: {"schema": ANY_ERROR, "examples": {}}},
            },
        )
        content: Any = entry["content"]
        content[JSON]["examples"].setdefault(body["error"]["code"], {"value": body})
        if error.headers:
            entry["headers"] = {name: {"schema": TEXT} for name in error.headers}
    return {status: by_status[status] for status in sorted(by_status)}


def signature_headers() -> Json:
    return {
        name: {"description": text, "schema": TEXT}
        for name, text in (
            ("Model-Name", "the preset's"),
            ("Model-Version", "the archive's"),
            ("Model-Digest", "sha256: and 64 hex digits, of the weights"),
            ("Model-Precision", "fp32, bf16, fp16 or int8: what the network computes in"),
            (
                "Server-Timing",
                "milliseconds by stage; `batch` is the whole batch, other requests included",
            ),
        )
    }


def response_name(status: str) -> str:
    return "Segmentation" if status == "200" else f"Error{status}"


def schema_name(output: str) -> str:
    """A name of letters alone, as generators of clients make classes of it."""
    return "".join(part.capitalize() for part in output.split("-"))


def reference(output: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema_name(output)}"}


def is_json(media_type: str) -> bool:
    return media_type == JSON or media_type.endswith("+json")


def data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
