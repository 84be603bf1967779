"""Every fault as a response: one JSON body for all of them.

    {"error": {"code": "image_too_large", "message": "...", "max_pixels": 50000000}}

`code` is stable, for programs; `message` is for people; the rest are the figures behind it. A
request in KServe's protocols gets its error in their form: {"error": "<code>: <message>"}.
The text of an exception that Python or a library raised never goes into a response.
"""

from __future__ import annotations

from dataclasses import replace

from imaging.errors import ImageError, ImageTooLarge, UnsupportedImage
from serving.types import ErrorResponse, Response
from serving.wire import JSON, KSERVE, OPEN_INFERENCE

# Retry-After of an overloaded service, in seconds: a few batches' time.
RETRY_AFTER_SECONDS = 2


class RequestError(Exception):
    """A request that its client has to correct, for a reason other than its image.

    `status` is the HTTP status: 400, 406 where no acceptable media type is available, 413, or 415;
    404 and 405 where an engine leaves addresses and methods to us.
    """

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


def client_error(error: ImageError | RequestError) -> ErrorResponse:
    """The 4xx response that tells a client what to correct."""
    return _error(status_of(error), error.code, error.message, error.details)


def status_of(error: ImageError | RequestError) -> int:
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, ImageTooLarge):
        return 413
    if isinstance(error, UnsupportedImage):
        return 415
    return 400


def internal_error(request_id: str) -> ErrorResponse:
    """The 500 response: our fault, of which the log has the traceback under `request_id`."""
    message = "The service failed on this request. Its log has the reason under this request_id."
    return _error(500, "internal_error", message, {"request_id": request_id})


def out_of_memory() -> ErrorResponse:
    """The 503 response to a valid request for which there is no memory at the moment."""
    return _overloaded("There is not enough free memory for this image at the moment.")


def queue_full() -> ErrorResponse:
    """The 503 response where as many requests wait already as memory is set aside for."""
    return _overloaded("Too many requests are waiting.")


def batch_too_large() -> ErrorResponse:
    """The 503 response where other large responses of the batch leave no room for this one."""
    return _overloaded("Large responses to other requests leave no room for this one.")


def batch_too_slow() -> ErrorResponse:
    """The 503 response to an image that the others of its batch left no time for."""
    return _overloaded("The images before this one have used up the time. Send fewer at a time.")


def of_image(error: ErrorResponse, number: int, count: int) -> ErrorResponse:
    """An image's error as that of its whole request, in which it has that number, from 1."""
    message = f"Image {number} of {count}: {error.message}"
    response = _error(error.status, error.code, message, {"image": number})
    return replace(response, headers=error.headers)


def response_too_large(num_bytes: int, max_bytes: int) -> ErrorResponse:
    """The 413 response in place of one that is larger than the server can send."""
    message = (
        f"The response has {num_bytes} bytes; at most {max_bytes} can be sent. "
        "Downscale the image, or request its mask."
    )
    details: dict[str, object] = {"bytes": num_bytes, "max_bytes": max_bytes}
    return _error(413, "answer_too_large", message, details)


def in_form_of(protocol: str | None, response: Response) -> Response:
    """The response; an error in the form of the protocol, if that has one of its own.

    https://github.com/kserve/open-inference-protocol says of both: an object whose only key is
    `error`, a string.
    """
    if not isinstance(response, ErrorResponse) or protocol not in (KSERVE, OPEN_INFERENCE):
        return response
    error = Response.json({"error": protocol_text(response)})
    return replace(response, body=error.body)


def protocol_text(error: ErrorResponse) -> str:
    """An error as the one string that KServe's protocols have for it."""
    return f"{error.code}: {error.message}"


def _overloaded(reason: str) -> ErrorResponse:
    message = f"{reason} Try again in {RETRY_AFTER_SECONDS} s."
    response = _error(503, "overloaded", message, {"retry_after": RETRY_AFTER_SECONDS})
    return replace(response, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _error(status: int, code: str, message: str, details: dict[str, object]) -> ErrorResponse:
    error = Response.json({"error": {"code": code, "message": message, **details}})
    return ErrorResponse(status, JSON, error.body, code=code, message=message)
