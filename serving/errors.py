"""What a sender is told when there is no mask: one JSON body for every fault.

    {"error": {"code": "image_too_large", "message": "...", "max_pixels": 50000000}}

`code` is stable, for programs; `message` is for people; the rest are the figures behind it.
No text of an exception that Python or a library raised goes into an answer.
"""

from __future__ import annotations

from dataclasses import replace

from imaging.errors import ImageError, ImageTooLarge, UnsupportedImage
from serving.response.answer import Answer, json_answer

# How long an overloaded service asks its clients to stay away, in seconds: a few batches' time.
RETRY_AFTER_SECONDS = 2


class RequestError(Exception):
    """A request that cannot be answered, for a reason other than its image; its sender can mend it.

    `status` is the HTTP status: 400, or 406 where no acceptable media type can be had.
    """

    def __init__(self, status: int, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


def error_answer(error: ImageError | RequestError) -> Answer:
    """The 4xx answer that tells a sender what to mend."""
    return _answer(status_of(error), error.code, error.message, error.details)


def status_of(error: ImageError | RequestError) -> int:
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, ImageTooLarge):
        return 413
    if isinstance(error, UnsupportedImage):
        return 415
    return 400


def internal_error_answer(request_id: str) -> Answer:
    """The 500 answer: our fault, of which the log has the traceback under `request_id`."""
    message = "The service failed on this request. Its log has the reason under this request_id."
    return _answer(500, "internal_error", message, {"request_id": request_id})


def overloaded_answer() -> Answer:
    """The 503 answer: nothing is wrong with the request, but there is no memory for it just now."""
    return _come_back("There is no memory free for this image now.")


def answers_too_large() -> Answer:
    """The 503 answer where others of the batch leave no room to send this one."""
    return _come_back("Large answers to other requests leave no room to send this one now.")


def answer_too_large(num_bytes: int, max_bytes: int) -> Answer:
    """The 413 answer: what was asked for would be larger than the server sends."""
    message = (
        f"The answer has {num_bytes} bytes; at most {max_bytes} can be sent. "
        "Scale the image down, or ask for its mask."
    )
    details: dict[str, object] = {"bytes": num_bytes, "max_bytes": max_bytes}
    return _answer(413, "answer_too_large", message, details)


def _come_back(reason: str) -> Answer:
    message = f"{reason} Try again in {RETRY_AFTER_SECONDS} s."
    answer = _answer(503, "overloaded", message, {"retry_after": RETRY_AFTER_SECONDS})
    return replace(answer, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _answer(status: int, code: str, message: str, details: dict[str, object]) -> Answer:
    return json_answer({"error": {"code": code, "message": message, **details}}, status)
