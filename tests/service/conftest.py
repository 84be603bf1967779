"""A small model behind a real TorchServe, and the same model in this process."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from imaging import decode_image
from imaging.mask.class_mask import class_mask_plain
from imaging.resize import fit_size, resize
from model.preset import Preset
from scripts.archive.build import build_archive
from scripts.launch import gateway
from scripts.launch.gateway import Gateway
from scripts.launch.instance import Instance
from scripts.launch.lifecycle import running_instance
from scripts.launch.loopback import tiny_image
from scripts.launch.ports import HOST, free_ports
from scripts.stress.fuzz.campaign import GATEWAY_LIMITS
from serving.runtime.loading import ServedModel, load_model
from serving.wire import MODEL_NAME
from tests.archives import unpacked_archive
from tests.debian import program

# Of the archive. Not the default, so that a client or test that assumes the default fails.
VERSION = "2.0"


@dataclass(frozen=True)
class RunningModel:
    """The service, and its archive loaded here."""

    service: Instance
    loaded: ServedModel

    @property
    def url(self) -> str:
        return self.service.predictions

    @property
    def management_url(self) -> str:
        return self.service.management

    @property
    def preset(self) -> Preset:
        return self.loaded.preset

    @property
    def digest(self) -> str:
        return self.loaded.digest

    def mask_in_process(self, body: bytes) -> np.ndarray:
        """(H, W): decode, resize, forward, interpolate, argmax, without the service."""
        image = decode_image(body)
        width, height = image.size
        pixels = resize(image, fit_size(width, height, self.preset.short_side))
        with torch.inference_mode():
            logits = self.loaded.net(pixels[None])
            return class_mask_plain(logits, (height, width))[0].numpy()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make archive MODEL=preset.yaml` builds it."""
    folder = tmp_path_factory.mktemp("archive")
    unpacked_archive(folder)
    build_archive(folder / "preset.yaml", folder / f"{MODEL_NAME}.mar", version=VERSION)
    return folder / f"{MODEL_NAME}.mar"


@pytest.fixture(scope="session")
def model(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningModel]:
    content = tmp_path_factory.mktemp("content")
    with zipfile.ZipFile(archive) as file:
        file.extractall(content)
    loaded = load_model(content, torch.device("cpu"))
    with running_instance(archive, tmp_path_factory.mktemp("service")) as service:
        yield RunningModel(service, loaded)


@pytest.fixture(scope="session")
def front(model: RunningModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the model."""
    program("nginx", "nginx")
    folder = tmp_path_factory.mktemp("gateway")
    torchserve, port = model.service.ports.inference, free_ports().inference
    try:
        yield gateway.start(
            folder, torchserve, tiny_image(), port, address=HOST, limits=GATEWAY_LIMITS
        )
    finally:
        gateway.stop(folder)
