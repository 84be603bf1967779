"""A request's own failures, and what its sender is told of them."""

from __future__ import annotations

import json
from fractions import Fraction

from imaging.errors import ImageTooLarge
from serving.response.answer import Answer
from serving.runtime.call import Call


def test_an_error_that_cannot_be_told_is_our_fault() -> None:
    """It would leave the handler otherwise, and all of the batch without answers."""

    def fail() -> None:
        raise ImageTooLarge("image_too_large", "too large", width=Fraction(1, 2))

    answer = Call({}, {}, "id-1").attempt("decode", fail)
    assert isinstance(answer, Answer)
    assert answer.status == 500
    assert json.loads(answer.body)["error"]["request_id"] == "id-1"
