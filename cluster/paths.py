"""What follows the model's name in the path of a prediction: a version, output formats, or both."""

from __future__ import annotations

from serving.errors import RequestError
from serving.formats import FORMATS
from serving.request.options import quoted
from serving.wire import DOCUMENTS


def output_in(path: str, version: str) -> str:
    """The name of the output formats: "overlay" of "1.0/overlay" and of "overlay"; "" of "1.0".

    Raises RequestError 404 for a version that is not served.
    """
    first, _, rest = path.strip("/").partition("/")
    if first in ("", version):
        return rest
    if not rest and all(name in FORMATS or name in DOCUMENTS for name in first.split(",")):
        return first
    check_version(first, version)
    return rest


def check_version(named: str, served: str) -> None:
    """Raises RequestError 404 unless they are the same."""
    if named != served:
        raise RequestError(
            404,
            "not_found",
            f"{quoted(named)} is neither the version that is served, {served}, nor an output "
            "format.",
        )
