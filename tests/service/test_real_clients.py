"""Libraries that people call the service with, each as its documentation says, at the gateway."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import httpx
import huggingface_hub
import numpy as np
import pytest
import requests
from PIL import Image
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from scripts.launch.gateway import Gateway
from tests.photos import encoded, photo
from tests.service.conftest import VERSION, RunningModel

PIXELS = photo(75, 113)
PHOTO = encoded(PIXELS, "PNG")
TIMEOUT = 60  # seconds: a bound against hanging


@pytest.fixture(scope="module")
def expected(model: RunningModel) -> np.ndarray:
    return model.mask_in_process(PHOTO)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    return path


def authorization(front: Gateway) -> dict[str, str]:
    return {"Authorization": f"Bearer {front.token}"}


def trust(front: Gateway) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(front.certificate))


def mask_in(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


class TestCommands:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["-T", "photo.png"],
            ["--data-binary", "@photo.png"],
            ["-F", "image=@photo.png", "-F", "output=mask"],
            ["-T", "photo.png", "-H", "Accept: application/octet-stream"],
        ],
    )
    def test_curl(
        self, front: Gateway, file: Path, expected: np.ndarray, arguments: list[str]
    ) -> None:
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(front.certificate)]
        command += ["-H", f"@{front.header.resolve()}", *arguments, front.predictions]
        done = subprocess.run(
            command, cwd=file.parent, capture_output=True, check=True, timeout=TIMEOUT
        )
        assert np.array_equal(mask_in(done.stdout), expected)

    def test_wget(self, front: Gateway, file: Path, expected: np.ndarray) -> None:
        command = ["wget", "-q", "-O", "-", "--no-proxy", f"--ca-certificate={front.certificate}"]
        command += [f"--header=Authorization: Bearer {front.token}", f"--post-file={file}"]
        done = subprocess.run(
            [*command, front.predictions], capture_output=True, check=True, timeout=TIMEOUT
        )
        assert np.array_equal(mask_in(done.stdout), expected)


def test_requests(front: Gateway, expected: np.ndarray) -> None:
    with requests.Session() as http:
        http.trust_env = False
        http.verify = str(front.certificate)
        http.headers.update(authorization(front))
        query = {"output": "confidence", "classes": "wall,1", "threshold": "0.3"}
        by_query = http.post(front.predictions, data=PHOTO, params=query, timeout=TIMEOUT)
        by_form = http.post(front.predictions, files={"image": PHOTO}, data=query, timeout=TIMEOUT)
        assert by_query.status_code == 200
        assert by_query.content == by_form.content
        compressed = http.post(
            front.predictions,
            data=gzip.compress(PHOTO),
            headers={"Content-Encoding": "gzip", "Content-Type": "image/png"},
            timeout=TIMEOUT,
        )
        assert np.array_equal(mask_in(compressed.content), expected)
        slip = http.post(front.predictions + "?treshold=0.5", data=PHOTO, timeout=TIMEOUT)
        assert slip.status_code == 400
        assert "Did you mean threshold?" in slip.json()["error"]["message"]
        twice = http.post(
            front.predictions, data=PHOTO, params={"classes": ["1", "2"]}, timeout=TIMEOUT
        )
        assert (twice.status_code, twice.json()["error"]["code"]) == (400, "repeated_name")


def test_documents(front: Gateway, model: RunningModel) -> None:
    with requests.Session() as http:
        http.trust_env = False
        http.verify = str(front.certificate)
        http.headers.update(authorization(front))
        page = http.get(front.url + "/", timeout=TIMEOUT)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<!DOCTYPE html>" in page.text
        card = http.get(front.url + "/model", timeout=TIMEOUT).json()
        assert (card["version"], card["digest"]) == (VERSION, model.digest)
        contract = http.get(front.url + "/openapi.json", timeout=TIMEOUT).json()
        assert contract["openapi"] == "3.1.0"


def test_httpx(front: Gateway, expected: np.ndarray) -> None:
    with httpx.Client(
        verify=trust(front), headers=authorization(front), trust_env=False, timeout=TIMEOUT
    ) as http:
        for arguments in ({"content": PHOTO}, {"files": {"image": ("photo.png", PHOTO)}}):
            response = http.post(front.predictions, params={"output": "mask"}, **arguments)
            assert np.array_equal(mask_in(response.content), expected)


def test_aiohttp(front: Gateway, expected: np.ndarray) -> None:
    async def masks() -> list[bytes]:
        form = aiohttp.FormData()
        form.add_field("image", PHOTO, filename="photo.png", content_type="image/png")
        bodies: list[object] = [PHOTO, form, io.BytesIO(PHOTO)]
        async with aiohttp.ClientSession(headers=authorization(front)) as http:
            found = []
            for data in bodies:
                async with http.post(front.predictions, data=data, ssl=trust(front)) as response:
                    assert response.status == 200, await response.text()
                    found.append(await response.read())
            return found

    for body in asyncio.run(masks()):
        assert np.array_equal(mask_in(body), expected)


class TestHuggingFace:
    @pytest.fixture
    def client(self, front: Gateway) -> Iterator[huggingface_hub.InferenceClient]:
        import httpx2  # what huggingface_hub sends with

        huggingface_hub.set_client_factory(
            lambda: httpx2.Client(verify=trust(front), trust_env=False, timeout=TIMEOUT)
        )
        model = f"{front.predictions}/huggingface"
        yield huggingface_hub.InferenceClient(model=model, token=front.token)
        huggingface_hub.close_session()

    @pytest.mark.parametrize("parameters", [{}, {"subtask": "semantic", "threshold": 0.0}])
    def test_image_segmentation(
        self,
        client: huggingface_hub.InferenceClient,
        model: RunningModel,
        expected: np.ndarray,
        parameters: dict[str, object],
    ) -> None:
        segments = client.image_segmentation(PHOTO, **parameters)  # type: ignore[arg-type]
        found = np.zeros(expected.shape, bool)
        for segment in segments:
            mask = np.asarray(segment.mask) > 0
            assert np.array_equal(mask, expected == model.preset.labels.index(segment.label))
            found |= mask
        assert found.all()

    def test_an_option_that_is_not_the_services(
        self, client: huggingface_hub.InferenceClient
    ) -> None:
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="mask_threshold"):
            client.image_segmentation(PHOTO, mask_threshold=0.7)


class TestTriton:
    @pytest.fixture
    def client(self, front: Gateway) -> Iterator[triton.InferenceServerClient]:
        with triton.InferenceServerClient(
            f"localhost:{front.port}", ssl=True, ssl_context_factory=lambda: trust(front)
        ) as client:
            yield client

    @pytest.fixture
    def headers(self, front: Gateway) -> dict[str, str]:
        return authorization(front)

    def test_health_and_metadata(
        self, client: triton.InferenceServerClient, headers: dict[str, str]
    ) -> None:
        assert client.is_server_live()
        assert client.is_server_ready()
        for version in ("", VERSION):
            assert client.is_model_ready("segmenter", version, headers=headers)
            metadata = client.get_model_metadata("segmenter", version, headers=headers)
            assert (metadata["name"], metadata["versions"]) == ("segmenter", [VERSION])
        assert not client.is_model_ready("segmenter", "9.9", headers=headers)
        assert not client.is_model_ready("another", headers=headers)
        assert client.get_server_metadata(headers=headers)["extensions"] == ["binary_tensor_data"]

    @pytest.mark.parametrize("is_raw", [True, False])
    @pytest.mark.parametrize("compression", [None, "gzip"])
    @pytest.mark.parametrize("version", ["", VERSION])
    def test_pixels(
        self,
        client: triton.InferenceServerClient,
        headers: dict[str, str],
        expected: np.ndarray,
        is_raw: bool,
        compression: str | None,
        version: str,
    ) -> None:
        pixels = np.asarray(PIXELS)[None]
        tensor = triton.InferInput("image", pixels.shape, "UINT8")
        tensor.set_data_from_numpy(pixels, binary_data=is_raw)
        result = client.infer(
            "segmenter",
            [tensor],
            version,
            outputs=[triton.InferRequestedOutput("mask", binary_data=is_raw)],
            request_id="7",
            headers=headers,
            request_compression_algorithm=compression,
        )
        mask = result.as_numpy("mask")
        assert result.get_response()["id"] == "7"
        assert mask.dtype == np.uint8
        assert np.array_equal(mask[0], expected)

    def test_a_file(
        self, client: triton.InferenceServerClient, headers: dict[str, str], expected: np.ndarray
    ) -> None:
        element = np.array([PHOTO], np.object_)
        tensor = triton.InferInput("image", element.shape, "BYTES")
        tensor.set_data_from_numpy(element)
        result = client.infer("segmenter", [tensor], headers=headers)
        assert np.array_equal(result.as_numpy("mask")[0], expected)

    @pytest.mark.parametrize("sizes", [[(75, 113)] * 2, [(75, 113), (60, 50)]], ids=["one", "two"])
    def test_several_files(
        self,
        client: triton.InferenceServerClient,
        headers: dict[str, str],
        model: RunningModel,
        sizes: list[tuple[int, int]],
    ) -> None:
        files = [encoded(photo(*size, seed), "PNG") for seed, size in enumerate(sizes)]
        elements = np.array(files, np.object_)
        tensor = triton.InferInput("image", elements.shape, "BYTES")
        tensor.set_data_from_numpy(elements)
        result = client.infer("segmenter", [tensor], headers=headers)
        whole = result.as_numpy("mask")  # none where images of two sizes have a tensor each
        masks = [result.as_numpy(f"mask_{n}")[0] for n in range(2)] if whole is None else whole
        for mask, file in zip(masks, files, strict=True):
            assert np.array_equal(mask, model.mask_in_process(file))

    @pytest.mark.parametrize(
        ("name", "compression", "token", "message"),
        [
            ("segmenter", None, True, "invalid_inference_request: .*FP32"),
            ("segmenter", "deflate", True, "unsupported_encoding: .*'deflate'"),
            ("segmenter", None, False, "unauthorized: Send the token"),
            ("another", None, True, "not_found: There is nothing here"),
        ],
    )
    def test_errors_are_readable(
        self,
        client: triton.InferenceServerClient,
        headers: dict[str, str],
        name: str,
        compression: str | None,
        token: bool,
        message: str,
    ) -> None:
        tensor = triton.InferInput("image", [1, 3, 4, 4], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 3, 4, 4), np.float32))
        with pytest.raises(InferenceServerException) as caught:
            client.infer(
                name,
                [tensor],
                headers=headers if token else None,
                request_compression_algorithm=compression,
            )
        assert str(caught.value)
        caught.match(message)


def test_base64_of_every_kind(front: Gateway, expected: np.ndarray) -> None:
    """What clients write of a file in JSON."""
    text = base64.b64encode(PHOTO).decode()
    lines = base64.encodebytes(PHOTO).decode()
    buffer = {"type": "Buffer", "data": list(PHOTO)}
    bodies = [
        *({"image": value} for value in (f"data:image/png;base64,{text}", lines, buffer)),
        {"instances": [{"image_bytes": {"b64": text}}]},
    ]
    with requests.Session() as http:
        http.trust_env = False
        http.verify = str(front.certificate)
        http.headers.update({**authorization(front), "Accept": "image/png"})
        for body in bodies:
            response = http.post(front.predictions, json=body, timeout=TIMEOUT)
            assert np.array_equal(mask_in(response.content), expected)
        raw_lines = f'{{"image": "{lines}"}}'  # line breaks that JSON does not allow
        response = http.post(
            front.predictions,
            data=raw_lines,
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT,
        )
        assert np.array_equal(mask_in(response.content), expected)
