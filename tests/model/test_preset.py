"""Presets: ours are torchvision's and CamVid's, a user's own is read strictly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, DeepLabV3_ResNet101_Weights

from model.preset import FOLDER, PresetError, dump_preset, load_preset, preset_names, voc_palette
from model.variant import Variant


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("voc-resnet50", DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1),
        ("voc-resnet101", DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1),
    ],
)
def test_the_voc_presets_are_torchvisions_recipe(
    name: str, weights: DeepLabV3_ResNet50_Weights | DeepLabV3_ResNet101_Weights
) -> None:
    preset = load_preset(name)
    recipe = weights.transforms()
    assert list(preset.labels) == weights.meta["categories"]
    assert preset.weights is not None
    assert preset.weights.url == weights.url
    assert preset.weights.sha256 in weights.url
    assert [preset.short_side] == recipe.resize_size
    assert (list(preset.mean), list(preset.std)) == (recipe.mean, recipe.std)


def test_the_voc_palette_has_the_colours_people_know() -> None:
    colours = voc_palette(256)
    assert colours[0] == (0, 0, 0)
    assert colours[1] == (128, 0, 0)
    assert colours[15] == (192, 128, 128)  # person
    assert colours[20] == (0, 64, 128)  # tv/monitor
    assert colours[255] == (224, 224, 192)  # void, as outlines in VOC's own files
    assert len(set(colours)) == 256


@pytest.mark.parametrize("name", preset_names())
def test_a_dumped_preset_reads_as_it_was(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    dump_preset(preset, first)
    assert load_preset(first) == preset
    dump_preset(load_preset(first), second)
    assert first.read_bytes() == second.read_bytes()


def test_the_variant_of_another_project_is_read_as_it_was_dumped(tmp_path: Path) -> None:
    changed = replace(load_preset("voc-resnet50"), variant=Variant("mmsegmentation", True, 512))
    dump_preset(changed, tmp_path / "preset.yaml")
    assert load_preset(tmp_path / "preset.yaml") == changed
    assert load_preset(own(tmp_path, variant={"deep_stem": True})).variant == Variant(
        deep_stem=True
    )


@pytest.mark.parametrize("name", ["nope.yaml", "nope", "/nowhere/nope.yml"])
def test_a_preset_that_does_not_exist(name: str) -> None:
    with pytest.raises(PresetError, match=f"there is no preset '{name}'; the presets are street"):
        load_preset(name)


def test_a_weights_file_is_found_beside_its_preset(tmp_path: Path) -> None:
    path = own(tmp_path, weights={"file": "my.pth", "sha256": "0123abcd"})
    weights = load_preset(path).weights
    assert weights is not None
    assert weights.file == str(tmp_path / "my.pth")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"backbonne": "resnet50"}, r"unknown key 'backbonne'; did you mean 'backbone'\?"),
        ({"backbone": "vgg16"}, r"backbone is 'vgg16'; expected one of resnet18,"),
        ({"backbone": None}, r"backbone is None; expected one of"),
        ({"features": "layer2"}, r"features is 'layer2'; expected one of layer3, layer4"),
        ({"output_stride": 32}, r"output_stride is 32; expected one of 8, 16"),
        ({"output_stride": True}, r"output_stride is True"),
        ({"atrous_rates": []}, r"atrous_rates is \[\]; expected a list that is not empty"),
        ({"atrous_rates": [12, 0]}, r"atrous_rates\[1\] is 0; expected a whole number from 1"),
        ({"short_side": "520"}, r"short_side is '520'; expected a whole number"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0.5, 0.5\]; expected a list of three"),
        ({"std": [0, 0.5, 0.5]}, r"std\[0\] is 0; expected a number from 0.001"),
        ({"labels": ["road", False]}, r"labels\[1\] is False; expected text; quote it"),
        ({"labels": ["road"]}, r"labels is '1 labels'; expected 2 to"),
        ({"labels": ["road", "road"]}, r"labels is 'road'; expected each label once"),
        ({"palette": [[0, 0, 0]]}, r"palette is '1 colours'; expected one for each of the 2"),
        ({"palette": [[0, 0, 0], [0, 0, 256]]}, r"palette\[1\]\[2\] is 256"),
        ({"variant": {"implementation": "keras"}}, r"variant.implementation is 'keras'; expected"),
        ({"variant": {"deep_stem": "yes"}}, r"variant.deep_stem is 'yes'; expected true or false"),
        ({"variant": {"head_channels": 0}}, r"variant.head_channels is 0; expected a whole"),
        ({"variant": {"stem": 1}}, r"variant has the unknown key 'stem'"),
        ({"weights": {"sha256": "0" * 64}}, r"weights is .*; expected either `file` or `url`"),
        ({"weights": {"file": "a", "sha256": "xyz"}}, r"weights.sha256 is 'xyz'"),
        ({"weights": {"file": "a"}}, r"weights lacks the key 'sha256'"),
        ({"name": "../x"}, r"name is '../x'; expected letters"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_value(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    path = own(tmp_path, **changes)
    with pytest.raises(PresetError, match=complaint) as caught:
        load_preset(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "- a list", "a: [unclosed", "\x00", "!!python/object:os.x {}"]
)
def test_what_is_no_preset_is_an_error_of_ours(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(PresetError, match=r"broken\.yaml"):
        load_preset(path)


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(PresetError, match=r"no preset 'resnet50'.*voc-resnet50"):
        load_preset("resnet50")


def own(folder: Path, **changes: object) -> Path:
    """A user's own preset of two classes, with changes to its keys."""
    document = yaml.safe_load((FOLDER / "voc-resnet50.yaml").read_text())
    document.update(
        {"name": "own", "labels": ["road", "rest"], "palette": [[1, 2, 3], [4, 5, 6]]}, **changes
    )
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path
