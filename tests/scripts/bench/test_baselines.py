"""The baselines respond with what they stand for, so that the benchmark compares equal work."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from imaging.mask.class_mask import class_mask_plain
from imaging.resize import fit_size, resize
from model.normalization import normalize
from model.preset import Preset, load_preset
from scripts.archive.build import untrained
from scripts.bench.baselines import image_segmenter, recipe, torchvision_network
from scripts.common.street import draw_street


@pytest.fixture(scope="module")
def preset() -> Preset:
    return load_preset("voc-resnet50")


@pytest.fixture(scope="module")
def plain(preset: Preset) -> nn.Module:
    return torchvision_network(preset, untrained(preset).state_dict())


@pytest.fixture(scope="module")
def photo() -> bytes:
    file = io.BytesIO()
    draw_street().resize((160, 120)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow  # two forward passes of ResNet-50 at 520 px
def test_the_recipe_gives_our_mask(preset: Preset, plain: nn.Module, photo: bytes) -> None:
    mask = np.asarray(Image.open(io.BytesIO(recipe(plain, preset, photo))))
    image = Image.open(io.BytesIO(photo))
    pixels = resize(image, fit_size(160, 120, preset.short_side))
    with torch.inference_mode():
        logits = untrained(preset).eval()(normalize(pixels[None], preset.mean, preset.std))
    ours = class_mask_plain(logits, (120, 160))[0].numpy()
    # The recipe resizes in float, ours in uint8, which rounds: a few pixels may differ.
    assert (mask == ours).mean() > 0.98


def test_image_segmenter_responds_with_a_crop(
    preset: Preset, plain: nn.Module, photo: bytes
) -> None:
    pairs = np.array(json.loads(image_segmenter(plain, preset, photo)))
    assert pairs.shape == (224, 224, 2)
    assert set(np.unique(pairs[..., 0])) <= set(range(preset.num_classes))
    assert pairs[..., 1].min() >= 1 / preset.num_classes
    assert pairs[..., 1].max() <= 1
