"""What the service responds about one image, each output format requested once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping


class ImageResponses:
    """Responses by output format, kept; threads may share it, and it can be pickled.

    `predict` turns an image file and an output format into a response; `responses` are those that
    are known already.
    """

    def __init__(
        self,
        image: bytes,
        predict: Callable[[bytes, str], bytes],
        responses: Mapping[str, bytes] | None = None,
    ) -> None:
        self.image = image
        self._predict = predict
        self._responses: dict[str, bytes] = dict(responses or {})
        self._lock = threading.Lock()

    def __getitem__(self, output_format: str) -> bytes:
        """Raises what `predict` raises; the next call asks again then."""
        with self._lock:
            if output_format not in self._responses:
                self._responses[output_format] = self._predict(self.image, output_format)
            return self._responses[output_format]

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
