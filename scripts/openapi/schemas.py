"""JSON Schema 2020-12 of the JSON responses, by the names in the registry of formats."""

from __future__ import annotations

from typing import Final

Schema = dict[str, object]


def record(**properties: Schema) -> Schema:
    """An object that has all of these, and may have more."""
    return {"type": "object", "required": list(properties), "properties": properties}


def array(items: Schema, length: int | None = None) -> Schema:
    bounds = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": items, **bounds}


def any_of(*schemas: Schema) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def base64_of(media_type: str) -> Schema:
    return {"type": "string", "contentEncoding": "base64", "contentMediaType": media_type}


TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
BBOX: Final = {**array(COUNT, 4), "description": "x, y, width, height; pixels"}
COLOUR: Final = array({"type": "integer", "minimum": 0, "maximum": 255}, 3)
RLE: Final = {
    **record(size=array(COUNT, 2), counts=TEXT),
    "description": "COCO's compressed run-length encoding; size is height, width",
}
SIZE: Final = record(width=COUNT, height=COUNT)

CLASS: Final = {
    "label": TEXT,
    "colour": COLOUR,
    "pixels": COUNT,
    "fraction": SHARE,
    "bbox": BBOX,
    "confidence": SHARE,
}

ERROR: Final = record(
    error={
        **record(code=TEXT, message=TEXT),
        "description": "code is stable, for programs; message is for people; the rest are figures",
    }
)

# KServe v1 and Open Inference v2: "<code>: <message>".
PROTOCOL_ERROR: Final = record(error=TEXT)

# TorchServe's own, where no worker saw the request.
FRONTEND_ERROR: Final = record(code={"type": "integer"}, type=TEXT, message=TEXT)

PNG: Final = base64_of("image/png")


def coco(segmentation: Schema) -> Schema:
    return record(
        images=array(record(id=COUNT, file_name=TEXT, width=COUNT, height=COUNT), 1),
        categories=array(record(id=COUNT, name=TEXT, class_id=COUNT)),
        annotations=array(
            record(
                id=COUNT,
                image_id=COUNT,
                category_id=COUNT,
                segmentation=segmentation,
                area=COUNT,
                bbox=BBOX,
                score=SHARE,
            )
        ),
    )


def polygon_of(kind: str, depth: int) -> Schema:
    coordinates: Schema = NUMBER
    for _ in range(depth):
        coordinates = array(coordinates)
    return record(type={"const": kind}, coordinates=coordinates)


OUTPUT_SCHEMAS: Final[dict[str, Schema]] = {
    "json": record(
        size=SIZE,
        model=record(name=TEXT, version=TEXT, digest=TEXT),
        void=COUNT,
        classes=array(record(id=COUNT, **CLASS, rle=RLE)),
    ),
    "kserve": record(
        predictions=array(
            any_of(
                record(
                    size=SIZE,
                    mask=record(b64=PNG),
                    void=COUNT,
                    classes=array(record(id=COUNT, label=TEXT)),
                ),
                record(error=TEXT),
            )
        )
    ),
    "open-inference": record(
        model_name=TEXT,
        model_version=TEXT,
        outputs=array(
            record(
                name=TEXT,
                shape=array(COUNT, 3),
                datatype={"enum": ["UINT8", "INT32"]},
                data=array(COUNT),
            )
        ),
    ),
    "huggingface": array(record(label=TEXT, score=SHARE, mask=PNG)),
    "coco": coco(RLE),
    "coco-polygons": coco(array(array(NUMBER))),
    "geojson": record(
        type={"const": "FeatureCollection"},
        features=array(
            record(
                type={"const": "Feature"},
                id=COUNT,
                properties=record(**CLASS),
                geometry=polygon_of("MultiPolygon", 4),
            )
        ),
    ),
    "labelstudio": record(
        model_version=TEXT,
        score=SHARE,
        result=array(
            record(
                id=TEXT,
                type={"const": "brushlabels"},
                from_name=TEXT,
                to_name=TEXT,
                original_width=COUNT,
                original_height=COUNT,
                score=SHARE,
                value=record(
                    format={"const": "rle"},
                    rle=array({"type": "integer", "minimum": 0, "maximum": 255}),
                    brushlabels=array(TEXT, 1),
                ),
            )
        ),
    ),
    "cvat": array(record(confidence=TEXT, label=TEXT, type={"const": "mask"}, mask=array(COUNT))),
    "legacy": {
        **array(array(array(NUMBER, 2))),
        "description": "rows of pixels, each [class, probability]",
    },
}

CARD: Final = record(
    name=TEXT,
    version=TEXT,
    digest=TEXT,
    precision=TEXT,
    description=TEXT,
    classes=array(record(id=COUNT, label=TEXT, colour=COLOUR)),
    network={"type": "object"},
    preprocessing={"type": "object"},
    input=record(
        formats=array(TEXT),
        max_bytes=COUNT,
        max_pixels=COUNT,
        max_side=COUNT,
        max_frames=COUNT,
        max_seconds=NUMBER,
        json=array(TEXT),
    ),
    void=COUNT,
    options=array(record(name=TEXT, header=TEXT, content=TEXT)),
    outputs=array(record(name=TEXT, media_type=TEXT, content=TEXT)),
)

MANAGED: Final = array(record(modelName=TEXT, modelVersion=TEXT, customizedMetadata=CARD), 1)
