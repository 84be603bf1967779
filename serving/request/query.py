"""The query of an address: the same options as in a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from serving.errors import RequestError
from serving.request.names import ENGINE_PARAMETERS, OPTIONS, check_names, unique

MAX_PARAMETERS: Final = 64  # far more than there are options


def query_parameters(query: str) -> Mapping[str, str]:
    """A query string -> its parameters, percent-decoded.

    Raises RequestError 400 for an unknown name, and for one that comes twice.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise RequestError(
            400, "unknown_name", f"The query has more than {MAX_PARAMETERS} parameters."
        ) from None
    check_names((name for name, _ in pairs), (*OPTIONS, *ENGINE_PARAMETERS), "query parameter")
    return unique(pairs, "query parameter")
