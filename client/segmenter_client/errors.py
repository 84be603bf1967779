"""Why there is no segmentation.

SegmenterError
  Unreachable        no connection, after all retries
  NoAnswer           connected, and no answer, or not all of it: in time, or after all retries
  AnswerError        what answered is not the service
  Refused            4xx: the request is at fault
  ServiceFailed      5xx: the service is at fault, or has too much to do (503)
"""

from __future__ import annotations

import json
from collections.abc import Mapping


class SegmenterError(Exception):
    """All of them; the message is one line for people."""


class Unreachable(SegmenterError):
    """No connection could be made, in spite of retries."""


class NoAnswer(SegmenterError):
    """Connected, but no answer within the timeout, or its connection broke at every try.

    What takes too long is not tried again: the image may be the reason.
    """


class AnswerError(SegmenterError):
    """An answer that the service does not give; something else is at that address."""


class AnsweredError(SegmenterError):
    """The service's own error.

    `status` is HTTP's, `code` the service's stable name of the fault ("image_too_large"), `message`
    its text for people, `details` the figures behind it ({"max_pixels": 50000000}).
    """

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, object]) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class Refused(AnsweredError):
    """4xx: the same request will be refused again."""


class ServiceFailed(AnsweredError):
    """5xx: not the image's fault; a 503 has been tried again as often as was allowed."""


def answered_error(status: int, body: bytes) -> SegmenterError:
    """The exception for an answer other than 200, of the service, a proxy or TorchServe itself."""
    try:
        answer = json.loads(body)
        if isinstance(answer.get("error"), dict):
            details = dict(answer["error"])
            code, message = str(details.pop("code")), str(details.pop("message"))
        else:  # TorchServe's own: {"code": 503, "type": "...", "message": "..."}
            code, message, details = str(answer["type"]), str(answer["message"]), {}
    except (ValueError, AttributeError, KeyError):
        code, message, details = f"http_{status}", f"the answer was HTTP status {status}", {}
    if status >= 500:
        return ServiceFailed(status, code, message, details)
    if status >= 400:
        return Refused(status, code, message, details)
    return AnswerError(f"HTTP status {status}; is this the address of the predictions?")
