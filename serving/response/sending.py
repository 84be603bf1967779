"""What a batch may send at once: TorchServe ends a worker whose answers are too much for it.

Too much is one answer over `max_response_size`. Too much are also several large ones together: on
each read of up to 64 kB from the worker's socket TorchServe parses all complete answers of the
batch anew, copies and all (ModelResponseDecoder.java in 0.12). Seven answers of 16 MB are 80 GB of
copies; `responseTimeout` came first.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.errors import answer_too_large, answers_too_large
from serving.response.answer import Answer

# Bytes of an answer. At most max_response_size in config.properties, which the worker is not told.
# The largest that an image makes here is 200 MB: npy of 50 megapixels in more than 256 classes.
MAX_ANSWER_BYTES = 1 << 30

READ_BYTES = 1 << 16
# Bytes that TorchServe may copy more than once for a batch: some seconds of one core. That lets
# through eight answers of 4 MB, three of 13 MB, two of 22 MB, and any single one.
MAX_RECOPIED_BYTES = 8 << 30


def sendable(answers: Sequence[Answer], max_bytes: int = MAX_ANSWER_BYTES) -> list[Answer]:
    """The answers of a batch, in its order; an error in the place of each that cannot be sent.

    413 where it is too large by itself, 503 where it is beside those before it: alone it can be
    sent, and the client is told to come back.
    """
    sent: list[Answer] = []
    bytes_before = 0
    recopied = 0
    for answer in answers:
        size = len(answer.body)
        if size > max_bytes:
            answer = answer_too_large(size, max_bytes)
        elif recopied + bytes_before * size // READ_BYTES > MAX_RECOPIED_BYTES:
            answer = answers_too_large()
        recopied += bytes_before * len(answer.body) // READ_BYTES
        bytes_before += len(answer.body)
        sent.append(answer)
    return sent
