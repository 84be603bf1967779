"""Checkpoints as they are found in the wild, through real files."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model import build_segmenter
from model.preset import WeightsSource
from scripts.archive.checkpoint import (
    CheckpointError,
    load_checkpoint,
    published_weights,
    read_checkpoint,
)

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return build_segmenter("resnet18", 5, aux_head=True, features="layer3").state_dict()


@pytest.fixture
def net() -> nn.Module:
    """Without an auxiliary head, as it is served."""
    torch.manual_seed(1)
    return build_segmenter("resnet18", 5, features="layer3")


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"state_dict": prefixed(state, "model.")},
        lambda state: prefixed(state, "module."),
        lambda state: {"model": prefixed(state, "module._orig_mod.")},
        lambda state: {
            "model": {name: value * 0 for name, value in state.items()},
            "model_ema": {"n_averaged": torch.tensor(7), **prefixed(state, "module.")},
        },
        lambda state: {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")},
        lambda state: {n: v.half() if v.is_floating_point() else v for n, v in state.items()},
    ],
    ids=["plain", "model", "lightning", "ddp", "compiled", "ema", "no-counters", "half"],
)
def test_wrapped_checkpoints_load(
    state: State, net: nn.Module, tmp_path: Path, wrap: Callable[[State], object]
) -> None:
    torch.save(wrap(state), tmp_path / "own.pth")
    load_checkpoint(net, tmp_path / "own.pth")
    assert_holds(net, state, tolerance=1e-3)


def test_safetensors_load(state: State, net: nn.Module, tmp_path: Path) -> None:
    save_file(state, tmp_path / "own.safetensors")
    load_checkpoint(net, tmp_path / "own.safetensors")
    assert_holds(net, state)


def test_an_auxiliary_head_loads_strictly_where_there_is_one(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "own.pth")
    with_aux = build_segmenter("resnet18", 5, aux_head=True, features="layer3")
    load_checkpoint(with_aux, tmp_path / "own.pth")
    assert_holds(with_aux, state)


@pytest.mark.parametrize(
    ("theirs", "complaint"),
    [
        (("resnet34", 5, "layer3"), "looks like resnet34 up to layer3 with 5 classes"),
        (
            ("resnet18", 7, "layer3"),
            "resnet18 up to layer3 with 7 classes .* misshapen: classifier",
        ),
        (("resnet18", 5, "layer4"), "looks like resnet18 with 5 classes"),
        (("resnet50", 21, "layer4"), "looks like resnet50 with 21 classes"),
        (("resnext50_32x4d", 21, "layer4"), "looks like resnext50_32x4d with 21 classes"),
        (("wide_resnet50_2", 2, "layer4"), "looks like wide_resnet50_2 with 2 classes"),
    ],
)
def test_another_network_is_recognised(
    net: nn.Module, tmp_path: Path, theirs: tuple[str, int, str], complaint: str
) -> None:
    backbone, num_classes, features = theirs
    with torch.device("meta"):
        other = build_segmenter(backbone, num_classes, features=features)
    shapes = {name: torch.zeros(()).expand(v.shape) for name, v in other.state_dict().items()}
    torch.save(shapes, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_checkpoint(net, tmp_path / "other.pth")
    assert "the network is resnet18 up to layer3 with 5 classes" in str(caught.value)


def test_keys_that_differ_are_named(state: State, net: nn.Module, tmp_path: Path) -> None:
    changed = dict(state)
    changed["extra.weight"] = changed.pop("backbone.bn1.bias")
    torch.save(changed, tmp_path / "own.pth")
    with pytest.raises(
        CheckpointError, match=r"missing: backbone\.bn1\.bias; unexpected: extra\.weight"
    ):
        load_checkpoint(net, tmp_path / "own.pth")


def test_nan_is_refused(state: State, net: nn.Module, tmp_path: Path) -> None:
    broken = {**state, "classifier.4.bias": torch.full((5,), float("nan"))}
    torch.save(broken, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"classifier\.4\.bias holds NaN"):
        load_checkpoint(net, tmp_path / "own.pth")


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run while loading",))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a valid PyTorch checkpoint"),
        (b"<!DOCTYPE html><html>Not found</html>", "web page or a Git LFS pointer"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04 and then nothing", "not a valid PyTorch checkpoint"),
        (b"random bytes", "refused|not a valid"),
    ],
)
def test_files_that_hold_no_weights(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint):
        read_checkpoint(path)


def test_no_pickle_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="would run code, which is refused"):
        read_checkpoint(tmp_path / "evil.pth")
    assert "run while loading" not in capsys.readouterr().out


def test_truncated_files_are_named(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "own.pth")
    save_file(state, tmp_path / "own.safetensors")
    for path in (tmp_path / "own.pth", tmp_path / "own.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match=r"is not a valid (PyTorch|safetensors)"):
            read_checkpoint(path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that serves `tmp_path`."""
    handler = partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_published_weights_are_downloaded_once(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "own.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    source = WeightsSource(None, f"{site}/own.pth", digest[:8])

    path = published_weights(source)
    assert path == tmp_path / "home" / "hub" / "checkpoints" / "own.pth"
    assert path.read_bytes() == b"weights"

    (tmp_path / "own.pth").unlink()
    assert published_weights(source) == path  # from the cache: the server no longer has it


def test_a_download_of_another_file_is_refused(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "own.pth").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="its SHA-256 begins with"):
        published_weights(WeightsSource(None, f"{site}/own.pth", "0" * 64))
    assert not list((tmp_path / "home").rglob("*.p*"))


def test_offline_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source = WeightsSource(None, "http://127.0.0.1:9/own.pth", "0" * 64)  # nothing listens there
    with pytest.raises(CheckpointError) as caught:
        published_weights(source)
    message = str(caught.value)
    assert "\n" not in message
    assert source.url is not None
    assert source.url in message
    assert str(tmp_path / "home" / "hub" / "checkpoints" / "own.pth") in message


def test_a_flipped_byte_in_a_presets_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert published_weights(WeightsSource(str(path), None, digest)) == path
    path.write_bytes(b"weighty")
    with pytest.raises(CheckpointError, match="damaged or another file"):
        published_weights(WeightsSource(str(path), None, digest))


def assert_holds(net: nn.Module, state: State, tolerance: float = 0.0) -> None:
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, state[name].to(value), rtol=tolerance, atol=tolerance)
