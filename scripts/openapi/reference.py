"""The OpenAPI document as a page to read, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

HEAD = """\
# HTTP reference

Made from [openapi.json](openapi.json) by `python -m scripts.write_openapi`; do not edit it here.
What the responses mean, and their limits, is in [formats.md](formats.md).
"""

WIDEST_EXAMPLE = 400  # characters of JSON; a longer one is cut


def reference(document: Any) -> str:
    parts = [HEAD, document["info"]["description"]]
    seen: set[str] = set()
    for path, item in document["paths"].items():
        for method in ("get", "post"):
            if method in item:
                server = item.get("servers", document["servers"])[0]["url"]
                summary = item[method]["summary"]
                parts.append(f"## {method.upper()} {path}\n\nat {server}: {summary}\n")
                parts.extend(operation(item[method], item.get("parameters", []), document, seen))
    return "\n".join(part.rstrip() + "\n" for part in parts)


def operation(content: Any, shared: list[Any], document: Any, seen: set[str]) -> Iterable[str]:
    """`seen` are the references that were resolved before; each is only once."""
    parameters = [*shared, *content.get("parameters", [])]
    if parameters:
        yield table(
            ("parameter", "in", "value"),
            ([f"`{one['name']}`", one["in"], values(one)] for one in parameters),
        )
    if "requestBody" in content:
        body, is_new = resolved(content["requestBody"], document, seen)
        types = ", ".join(f"`{name}`" for name in body["content"])
        yield f"Body: {types}.\n"
        if is_new:
            yield from samples(body["content"], "")
    for status, one in content["responses"].items():
        response, is_new = resolved(one, document, seen)
        if not is_new:
            yield f"{status}: {response['description']} As above.\n"
            continue
        types = ", ".join(f"`{name}`" for name in response["content"])
        yield f"### {status}: {response['description']}\n\n{types}\n"
        if "headers" in response:
            yield table(
                ("header", "content"),
                (
                    [f"`{name}`", header.get("description", "")]
                    for name, header in response["headers"].items()
                ),
            )
        yield from samples(response["content"], status)


def resolved(part: Any, document: Any, seen: set[str]) -> tuple[Any, bool]:
    """What `part` is or refers to, and whether it is seen for the first time."""
    if "$ref" not in part:
        return part, True
    target = document
    for key in part["$ref"].split("/")[1:]:
        target = target[key]
    is_new = part["$ref"] not in seen
    seen.add(part["$ref"])
    return target, is_new


def samples(content: Any, status: str) -> Iterable[str]:
    """Examples: a table of the errors' words, else each by itself where it is JSON."""
    entries = [pair for one in content.values() for pair in one.get("examples", {}).items()]
    if status not in ("", "200") and entries:
        yield table(
            ("code", "message, for example"),
            ([f"`{code}`", entry["value"]["error"]["message"]] for code, entry in entries),
        )
        return
    for name, entry in entries:
        summary = f": {entry['summary']}" if "summary" in entry else ""
        yield f"`{name}`{summary}\n"
        if "value" in entry:
            yield f"```json\n{shortened(entry['value'])}\n```\n"


def values(parameter: Any) -> str:
    schema = parameter["schema"]
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return f"`{schema['const']}`" if "const" in schema else str(parameter.get("description", ""))


def shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= WIDEST_EXAMPLE else f"{text[:WIDEST_EXAMPLE]} ..."


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return (
        "\n".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
        )
        + "\n"
    )
