"""The values that a request becomes on its way to a response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving import wire

if TYPE_CHECKING:
    from serving.errors import RequestError


# A file's bytes, or the pixels themselves: (H, W, 3), RGB.
ImageData = Union[bytes, npt.NDArray[np.uint8]]

# The name of an image whose file's name nobody has said.
UNNAMED: Final = "image"


@dataclass(frozen=True)
class HttpRequest:
    """A request as an engine received it.

    `parts` holds the fields of a form under their names; a body that is not a form is the part
    `body`. `path_suffix` is what follows the model and its version in the path. `query` is the
    query string, still percent-encoded, where the engine passes it on as it is; an engine that
    takes it apart may add its parameters to the parts. `filenames` are those of parts that are
    files, where the engine shows them.
    """

    id: str
    headers: Mapping[str, str]  # names in lower case
    parts: Mapping[str, bytes | bytearray]
    path_suffix: str = ""
    query: str = ""
    filenames: Mapping[str, str] = field(default_factory=dict)  # by the part's name


@dataclass(frozen=True)
class Options:
    """Which pixels keep their class; the others become void."""

    classes: frozenset[int] | None = None  # ids; None: all
    threshold: float = 0.0  # 0..1, of the winning class's probability


@dataclass(frozen=True)
class TensorOptions:
    """What an Open Inference v2 request says about its response."""

    id: str | None = None  # the client's own, echoed
    names: tuple[str, ...] = ("mask",)  # of the tensors to send
    binary: frozenset[str] = frozenset()  # those of `names` to send as raw bytes


@dataclass(frozen=True)
class ImageFile:
    """An image, or why it could not be taken out of its request; and the name of its file."""

    data: ImageData | RequestError
    name: str = UNNAMED


@dataclass(frozen=True)
class SegmentationRequest:
    """Images and how their segmentations are to be sent back."""

    images: tuple[ImageFile, ...]  # at least one
    outputs: tuple[str, ...]  # keys of serving.formats.FORMATS, at least one
    options: Options = Options()
    tensors: TensorOptions = TensorOptions()
    is_list: bool = False  # whether the response holds a list of images, which may be one
    is_zip: bool = False  # whether Accept asks for a ZIP archive


@dataclass(frozen=True)
class DocumentRequest:
    """A request without an image, for a document about the service: one of wire.DOCUMENTS."""

    name: str


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of an upright photo of H x W pixels; void where it has none."""

    mask: npt.NDArray[np.integer]  # (H, W) class ids: uint8, or int32 where an id is beyond 255
    confidence: npt.NDArray[np.uint8] | None  # (H, W) probability of the winning class x 255
    original: Image.Image | None  # the photo, RGB, where the response shows it


@dataclass(frozen=True)
class Response:
    """A complete HTTP response. `headers` are those beyond the content type."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, content: object, status: int = 200) -> Response:
        """A response in compact ASCII JSON. Raises ValueError for NaN and infinity."""
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        return cls(status, wire.JSON, text.encode("ascii"))


@dataclass(frozen=True)
class ErrorResponse(Response):
    """A response that tells of a fault: a code for programs, and a message for people."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """What responses say about the model that made them."""

    name: str
    version: str
    digest: str  # "sha256:<64 hex digits>" of its weights file
    precision: str  # what its network computes in: "fp32", "bf16", "fp16" or "int8"

    def headers(self) -> dict[str, str]:
        return {
            "Model-Name": self.name,
            "Model-Version": self.version,
            "Model-Digest": self.digest,
            "Model-Precision": self.precision,
        }
