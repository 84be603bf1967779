"""Cross-origin resource sharing: which pages of other origins may send requests from a browser.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from typing import Final

from scripts.launch.instance import LaunchError
from serving.wire import INFERENCE_HEADER_LENGTH, OPTION_HEADERS, OUTPUT_HEADER

ANY: Final = "*"

ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")

# Headers that such a page may send, and those of a response that it may read, beside the few that
# every page may.
REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "Content-Encoding"),
    *(OUTPUT_HEADER, *OPTION_HEADERS.values(), INFERENCE_HEADER_LENGTH),
)
RESPONSE_HEADERS: Final = (
    *("Model-Name", "Model-Version", "Model-Digest", "Model-Precision", "Server-Timing"),
    *("Retry-After", "X-Request-Id", INFERENCE_HEADER_LENGTH),
)


def parse_origins(text: str) -> tuple[str, ...]:
    """Origins between commas, or "*"; none for empty text. Raises LaunchError for anything else."""
    origins = tuple(filter(None, (part.strip().rstrip("/") for part in text.split(","))))
    for origin in origins:
        if origin != ANY and not ORIGIN.fullmatch(origin):
            raise LaunchError(
                f"{origin!r} is no origin: CORS_ORIGINS takes * or origins between commas, "
                "such as https://app.example.org or http://localhost:3000"
            )
    if ANY in origins and len(origins) > 1:
        raise LaunchError("CORS_ORIGINS is either * or a list of origins, not both")
    return origins


def nginx_settings(origins: tuple[str, ...]) -> dict[str, str]:
    """Values for the template deploy/gateway/nginx.conf."""
    if origins == (ANY,):
        entries = ['"" ""', 'default "*"']
    else:
        entries = ['default ""', *(f'"{origin}" $http_origin' for origin in origins)]
    return {
        "CORS_ORIGINS": ",".join(origins),
        "CORS_MAP": "\n".join(f"        {entry};" for entry in entries),
        "CORS_HEADERS": ", ".join(REQUEST_HEADERS),
        "CORS_EXPOSED": ", ".join(RESPONSE_HEADERS),
        "CORS_VARY": "" if origins in ((), (ANY,)) else "Origin",
    }


def torchserve_settings(origins: tuple[str, ...]) -> str:
    """Lines for config.properties. Raises LaunchError for several origins: TorchServe has one."""
    if len(origins) > 1:
        raise LaunchError(
            "TorchServe itself takes one origin, or *: the gateway takes several (GATEWAY=1)"
        )
    if not origins:
        return ""
    return (
        f"cors_allowed_origin={origins[0]}\n"
        "cors_allowed_methods=GET, POST, PUT, OPTIONS\n"
        f"cors_allowed_headers={', '.join(REQUEST_HEADERS)}\n"
    )


def origins_in(config: str) -> tuple[str, ...]:
    """The origins of a configuration that was made with one of the two functions above."""
    found = re.search(r"(?:CORS_ORIGINS: |cors_allowed_origin=)(.*)", config)
    return parse_origins(found[1]) if found else ()
