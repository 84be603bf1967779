"""A preset: all that makes weights into a model, in one YAML file.

The network's shape, the preprocessing of photos, the labels and colours of the classes, and the
source of the weights. `model/presets/` holds ours; a user's own is a file like them.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model.segmenter import BACKBONES, Segmenter, build_segmenter
from model.variant import IMPLEMENTATIONS, STANDARD, Variant

FOLDER = Path(__file__).with_name("presets")

Colour = tuple[int, int, int]  # red, green, blue, 0..255

# Class ids 0 to 65534: in a 16-bit mask, 65535 is void.
MAX_CLASSES = 65_535


class PresetError(ValueError):
    """A preset file that cannot be used. Names the file, key, value and expectation."""


@dataclass(frozen=True)
class WeightsSource:
    """Where a preset's weights are: a file, by its path, or a URL to download once.

    `sha256` is the file's digest in hex, or at least its first 8 digits: torchvision publishes no
    more of it, at the end of its files' names.
    """

    file: str | None
    url: str | None
    sha256: str


@dataclass(frozen=True)
class Preset:
    name: str
    description: str
    backbone: str  # one of model.segmenter.BACKBONES
    features: str  # the stage that the head reads: "layer3" or "layer4"
    output_stride: int  # 8 or 16: how much smaller than the input the logits are
    atrous_rates: tuple[int, ...]  # dilations of the pyramid, in cells of the feature map
    short_side: int  # px: photos are scaled to it
    mean: tuple[float, float, float]  # of RGB in 0..1, subtracted
    std: tuple[float, float, float]  # of RGB in 0..1, divided by
    labels: tuple[str, ...]  # by class id
    palette: tuple[Colour, ...]  # by class id
    weights: WeightsSource | None  # None: a checkpoint has to be named when it is built
    variant: Variant = STANDARD  # torchvision's, unless the weights are of another project's

    @property
    def num_classes(self) -> int:
        return len(self.labels)


def preset_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_preset(name_or_path: str | Path) -> Preset:
    """Read one of our presets by its name, or any by the path of its .yaml or .yml file.

    Raises PresetError.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        raise PresetError(
            f"there is no preset {str(name_or_path)!r}; the presets are "
            f"{', '.join(preset_names())}; give one of your own by the path of its .yaml file"
        )
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PresetError(f"{path}: cannot be read as YAML: {error}") from error
    return _Reader(path).preset(document)


def build_network(preset: Preset) -> Segmenter:
    """The preset's network, untrained and without an auxiliary head."""
    return build_segmenter(
        preset.backbone,
        preset.num_classes,
        preset.atrous_rates,
        features=preset.features,
        output_stride=preset.output_stride,
        variant=preset.variant,
    )


def dump_preset(preset: Preset, path: Path) -> None:
    """Write a preset as `load_preset` reads it; the same preset gives the same bytes."""
    document = dataclasses.asdict(preset)
    if preset.weights is not None:
        document["weights"] = {
            key: value for key, value in document["weights"].items() if value is not None
        }
    if preset.variant == STANDARD:
        del document["variant"]
    text = yaml.safe_dump(_plain(document), sort_keys=False, default_flow_style=None, width=100)
    path.write_text(text, encoding="utf-8")


def voc_palette(num_classes: int) -> tuple[Colour, ...]:
    """PASCAL VOC's colours (`VOClabelcolormap` of its devkit): an id's bits, dealt to r, g and b.

    Bits 0, 1, 2 become the highest bits of red, green and blue, bits 3, 4, 5 the next, and so on.
    """

    def channel(index: int, offset: int) -> int:
        return sum((index >> (3 * place + offset) & 1) << (7 - place) for place in range(8))

    return tuple(
        (channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(num_classes)
    )


def _plain(value: object) -> object:
    """Tuples as lists: YAML has no tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


class _Reader:
    """Reads a document strictly. Errors name its file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def preset(self, document: object) -> Preset:
        fields = self.mapping(
            "the file", document, Preset, optional=("description", "weights", "variant")
        )
        labels = self.sequence("labels", fields["labels"], self.text)
        if not 2 <= len(labels) <= MAX_CLASSES:
            raise self.error("labels", f"{len(labels)} labels", f"2 to {MAX_CLASSES} of them")
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise self.error("labels", twice, "each label once")
        stem = self.path.stem
        name = self.text("name", fields["name"])
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise self.error("name", name, "letters, digits, '.', '_' and '-', such as " + stem)
        return Preset(
            name=name,
            description=self.text("description", fields.get("description", "")),
            backbone=self.choice("backbone", fields["backbone"], BACKBONES),
            features=self.choice("features", fields["features"], ("layer3", "layer4")),
            output_stride=self.choice("output_stride", fields["output_stride"], (8, 16)),
            atrous_rates=self.sequence("atrous_rates", fields["atrous_rates"], self.whole(1, 1000)),
            short_side=self.whole(16, 4096)("short_side", fields["short_side"]),
            mean=self.triple("mean", fields["mean"], self.number(0, 1)),
            std=self.triple("std", fields["std"], self.number(0.001, 1)),
            labels=labels,
            palette=self.palette(fields["palette"], len(labels)),
            weights=self.weights(fields.get("weights")),
            variant=self.variant(fields.get("variant")),
        )

    def palette(self, value: object, num_classes: int) -> tuple[Colour, ...]:
        if value == "voc":
            return voc_palette(num_classes)
        colours: tuple[Colour, ...] = self.sequence(
            "palette", value, lambda key, item: self.triple(key, item, self.whole(0, 255))
        )
        if len(colours) != num_classes:
            raise self.error(
                "palette", f"{len(colours)} colours", f"one for each of the {num_classes} labels"
            )
        return colours

    def weights(self, value: object) -> WeightsSource | None:
        if value is None:
            return None
        fields = self.mapping("weights", value, WeightsSource, optional=("file", "url"))
        if ("file" in fields) == ("url" in fields):
            raise self.error("weights", value, "either `file` or `url`")
        digest = self.text("weights.sha256", fields["sha256"])
        if not re.fullmatch(r"[0-9a-f]{8,64}", digest):
            raise self.error("weights.sha256", digest, "8 to 64 lower-case hex digits, quoted")
        if "url" in fields:
            return WeightsSource(None, self.text("weights.url", fields["url"]), digest)
        file = self.path.parent / self.text("weights.file", fields["file"])
        return WeightsSource(str(file), None, digest)

    def variant(self, value: object) -> Variant:
        if value is None:
            return STANDARD
        default = dataclasses.asdict(STANDARD)
        fields = {**default, **self.mapping("variant", value, Variant, optional=tuple(default))}
        if not isinstance(fields["deep_stem"], bool):
            raise self.error("variant.deep_stem", fields["deep_stem"], "true or false")
        return Variant(
            implementation=self.choice(
                "variant.implementation", fields["implementation"], IMPLEMENTATIONS
            ),
            deep_stem=fields["deep_stem"],
            head_channels=self.whole(1, 4096)("variant.head_channels", fields["head_channels"]),
        )

    def mapping(
        self, key: str, value: object, form: type, optional: tuple[str, ...]
    ) -> dict[str, Any]:
        """The fields of the dataclass `form`: no others, and all but the optional ones."""
        if not isinstance(value, Mapping):
            raise self.error(key, value, "a mapping of keys to values")
        known = [field.name for field in dataclasses.fields(form)]
        for name in value:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise PresetError(
                    f"{self.path}: {key} has the unknown key {name!r}; {hint}"
                    f"The keys are {', '.join(known)}"
                )
        for name in known:
            if name not in value and name not in optional:
                raise PresetError(f"{self.path}: {key} lacks the key {name!r}")
        return dict(value)

    def sequence(self, key: str, value: object, item: Callable[[str, object], Any]) -> Any:
        if not isinstance(value, list) or not value:
            raise self.error(key, value, "a list that is not empty")
        return tuple(item(f"{key}[{index}]", entry) for index, entry in enumerate(value))

    def triple(self, key: str, value: object, item: Callable[[str, object], Any]) -> Any:
        if not isinstance(value, list) or len(value) != 3:
            raise self.error(key, value, "a list of three numbers: red, green, blue")
        return self.sequence(key, value, item)

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            # YAML 1.1 reads no, on and 12 as something else than text.
            raise self.error(key, value, f"text; quote it if it is meant as such: '{value}'")
        return value

    def choice(self, key: str, value: object, choices: tuple[Any, ...]) -> Any:
        if isinstance(value, bool) or value not in choices:
            raise self.error(key, value, f"one of {', '.join(map(str, choices))}")
        return value

    def whole(self, low: int, high: int) -> Callable[[str, object], int]:
        def read(key: str, value: object) -> int:
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self.error(key, value, f"a whole number from {low} to {high}")
            return value

        return read

    def number(self, low: float, high: float) -> Callable[[str, object], float]:
        def read(key: str, value: object) -> float:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise self.error(key, value, f"a number from {low} to {high}")
            if not low <= value <= high:
                raise self.error(key, value, f"a number from {low} to {high}")
            return float(value)

        return read

    def error(self, key: str, value: object, expected: str) -> PresetError:
        return PresetError(f"{self.path}: {key} is {value!r}; expected {expected}")
