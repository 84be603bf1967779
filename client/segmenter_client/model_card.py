"""What a running service says about its model: classes, limits, output formats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True)
class ModelClass:
    id: int  # the value of its pixels in a mask
    label: str
    colour: tuple[int, int, int]  # RGB, 0..255


@dataclass(frozen=True)
class InputLimits:
    """Beyond one of these an image is refused."""

    formats: tuple[str, ...]  # "JPEG", "PNG", ...
    max_bytes: int  # of the file
    max_pixels: int
    max_side: int  # px


@dataclass(frozen=True)
class OutputFormat:
    media_type: str
    content: str  # one line
    max_pixels: int | None  # of the image; None: no limit of its own


@dataclass(frozen=True)
class ModelCard:
    """The served model. `digest` is the SHA-256 of its weights, in hex after "sha256:"."""

    name: str
    version: str
    digest: str
    precision: str  # what its network computes in: fp32, bf16, fp16 or int8
    description: str
    classes: tuple[ModelClass, ...]  # by id
    void: int  # the value of pixels that have no class
    limits: InputLimits
    outputs: dict[str, OutputFormat]  # by name

    def label(self, class_id: int) -> str:
        """The label of a mask's value: those that are no class are void's."""
        return self.classes[class_id].label if class_id < len(self.classes) else "void"


class ClassDocument(TypedDict):
    id: int
    label: str
    colour: list[int]


class InputDocument(TypedDict):
    formats: list[str]
    max_bytes: int
    max_pixels: int
    max_side: int


class OutputLimit(TypedDict, total=False):
    max_pixels: int


class OutputDocument(OutputLimit):
    name: str
    media_type: str
    content: str


class CardDocument(TypedDict):
    """The card as JSON, as far as it is read here."""

    name: str
    version: str
    digest: str
    precision: str
    description: str
    classes: list[ClassDocument]
    void: int
    input: InputDocument
    outputs: list[OutputDocument]


def parse_model_card(body: bytes) -> ModelCard:
    """Raises ValueError, KeyError or TypeError for what is not a card."""
    card: CardDocument = json.loads(body)
    limits = card["input"]
    return ModelCard(
        name=card["name"],
        version=card["version"],
        digest=card["digest"],
        precision=card["precision"],
        description=card["description"],
        classes=tuple(map(_model_class, card["classes"])),
        void=card["void"],
        limits=InputLimits(
            formats=tuple(limits["formats"]),
            max_bytes=limits["max_bytes"],
            max_pixels=limits["max_pixels"],
            max_side=limits["max_side"],
        ),
        outputs={
            entry["name"]: OutputFormat(
                entry["media_type"], entry["content"], entry.get("max_pixels")
            )
            for entry in card["outputs"]
        },
    )


def _model_class(entry: ClassDocument) -> ModelClass:
    red, green, blue = entry["colour"]
    return ModelClass(entry["id"], entry["label"], (red, green, blue))
