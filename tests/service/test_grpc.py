"""TorchServe's own gRPC service, by stubs that are generated from its definition."""

from __future__ import annotations

import importlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import grpc_tools
import numpy as np
import pytest
from grpc_tools import protoc
from PIL import Image

from tests.photos import encoded, photo
from tests.service.conftest import VERSION, RunningModel

PHOTO = encoded(photo(75, 113), "JPEG")
TIMEOUT = 60  # seconds: a bound against hanging

# In TorchServe's jar, with all that they import.
DEFINITIONS = {"proto/inference.proto": "inference.proto", "google/rpc/status.proto": None}


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    """The modules of messages and of services."""
    folder = tmp_path_factory.mktemp("stubs")
    import ts  # here, since the tests are collected where it is not installed

    with zipfile.ZipFile(Path(ts.__file__).parent / "frontend" / "model-server.jar") as jar:
        for inside, outside in DEFINITIONS.items():
            path = folder / (outside or inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jar.read(inside))
    includes = [f"-I{folder}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    files = ["inference.proto", "google/rpc/status.proto"]
    assert protoc.main(["protoc", *includes, *outputs, *files]) == 0
    sys.path.insert(0, str(folder))
    try:
        messages = importlib.import_module("inference_pb2")
        return messages, importlib.import_module("inference_pb2_grpc")
    finally:
        sys.path.remove(str(folder))


class Client:
    """Predictions by gRPC: parts in, bytes out."""

    def __init__(self, channel: grpc.Channel, stubs: tuple[ModuleType, ModuleType]) -> None:
        self.messages, services = stubs
        self.service: Any = services.InferenceAPIsServiceStub(channel)

    def predict(
        self, parts: Mapping[str, bytes], model: str = "segmenter", version: str = ""
    ) -> bytes:
        request = self.messages.PredictionsRequest(
            model_name=model, model_version=version, input=parts
        )
        response = self.service.Predictions(request, timeout=TIMEOUT)
        prediction: bytes = response.prediction
        return prediction


@pytest.fixture
def client(model: RunningModel, stubs: tuple[ModuleType, ModuleType]) -> Iterator[Client]:
    address = f"127.0.0.1:{model.service.ports.grpc_inference}"
    # Of a response; 4 MB unless it is set. And no proxy to this machine.
    options = [("grpc.max_receive_message_length", 1 << 28), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as channel:
        yield Client(channel, stubs)


@pytest.mark.parametrize("part", ["data", "image", "body", "file", "anything"])
@pytest.mark.parametrize("version", ["", VERSION])
def test_a_photo_under_any_name(
    client: Client, model: RunningModel, part: str, version: str
) -> None:
    mask = np.asarray(Image.open(io.BytesIO(client.predict({part: PHOTO}, version=version))))
    assert np.array_equal(mask, model.mask_in_process(PHOTO))


def test_output_and_options_are_parts(client: Client, model: RunningModel) -> None:
    options = {"classes": b"wall,1", "threshold": b"0.3"}
    array = np.load(io.BytesIO(client.predict({"data": PHOTO, "output": b"npy", **options})))
    with_form = json.loads(client.predict({"data": PHOTO, "output": b"json", **options}))
    assert sum(entry["pixels"] for entry in with_form["classes"]) == array.size
    assert (array != model.mask_in_process(PHOTO)).any()


def test_a_large_response(client: Client) -> None:
    large = encoded(Image.new("RGB", (3000, 2000)), "PNG")
    assert np.load(io.BytesIO(client.predict({"data": large, "output": b"npy"}))).shape == (
        2000,
        3000,
    )


def test_the_model_card(client: Client, model: RunningModel) -> None:
    assert json.loads(client.predict({"output": b"model"}))["digest"] == model.digest


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"data": b"no photo"}, "unsupported_format"),
        ({"data": PHOTO, "output": b"hologram"}, "unknown_output"),
        ({"data": PHOTO, "treshold": b"0.5"}, "unknown_name"),
    ],
)
def test_an_error_comes_as_ok_in_our_json(
    client: Client, parts: dict[str, bytes], code: str
) -> None:
    """TorchServe passes the status of a response on over HTTP only."""
    assert json.loads(client.predict(parts))["error"]["code"] == code


def test_what_torchserve_itself_refuses_has_a_status(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.predict({"data": PHOTO}, model="another")
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert str(caught.value.details()).startswith("Model not found: another")
