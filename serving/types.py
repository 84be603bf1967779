"""What a request asks for, as values: read by `request`, honoured by `pipeline` and `outputs`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Which pixels keep their class; the others become void."""

    classes: frozenset[int] | None = None  # ids; None: all
    threshold: float = 0.0  # 0..1, of the winning class's probability


@dataclass(frozen=True)
class Tensors:
    """What an Open Inference v2 request says of its answer."""

    id: str | None = None  # the client's own, to be echoed
    names: tuple[str, ...] = ("mask",)
    binary: frozenset[str] = frozenset()  # those of `names` to be sent as raw bytes


@dataclass(frozen=True)
class Request:
    """An image, still encoded, and the name of the output; no image where that is the page."""

    image: bytes | None
    output: str
    options: Options = Options()
    tensors: Tensors = Tensors()
