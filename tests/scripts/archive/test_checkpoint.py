"""Checkpoints as they are found in the wild, through real files."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model import build_segmenter
from model.segmenter import Segmenter
from scripts.archive.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    read_weights,
)

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return build_segmenter("resnet18", 5, aux_head=True, features="layer3").state_dict()


@pytest.fixture
def net() -> Segmenter:
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
        lambda state: {
            "state_dict": {"loss.weight": torch.ones(5), **prefixed(state, "net.segmenter.")}
        },
        lambda state: {
            n.replace("classifier.", "classifier._orig_mod."): v for n, v in state.items()
        },
    ],
    ids=[
        *("plain", "model", "lightning", "ddp", "compiled", "ema", "no-counters", "half"),
        *("within", "compiled-head"),
    ],
)
def test_wrapped_checkpoints_load(
    state: State, net: Segmenter, tmp_path: Path, wrap: Callable[[State], object]
) -> None:
    torch.save(wrap(state), tmp_path / "own.pth")
    load_checkpoint(net, tmp_path / "own.pth")
    assert_holds(net, state, tolerance=1e-3)


def test_safetensors_load(state: State, net: Segmenter, tmp_path: Path) -> None:
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
    net: Segmenter, tmp_path: Path, theirs: tuple[str, int, str], complaint: str
) -> None:
    backbone, num_classes, features = theirs
    with torch.device("meta"):
        other = build_segmenter(backbone, num_classes, features=features)
    shapes = {name: torch.zeros(()).expand(v.shape) for name, v in other.state_dict().items()}
    torch.save(shapes, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_checkpoint(net, tmp_path / "other.pth")
    assert "the network is resnet18 up to layer3 with 5 classes" in str(caught.value)


def test_keys_that_differ_are_named(state: State, net: Segmenter, tmp_path: Path) -> None:
    changed = dict(state)
    changed["extra.weight"] = changed.pop("backbone.bn1.bias")
    torch.save(changed, tmp_path / "own.pth")
    with pytest.raises(
        CheckpointError, match=r"missing: backbone\.bn1\.bias; unexpected: extra\.weight"
    ):
        load_checkpoint(net, tmp_path / "own.pth")


def test_nan_is_refused(state: State, net: Segmenter, tmp_path: Path) -> None:
    broken = {**state, "classifier.4.bias": torch.full((5,), float("nan"))}
    torch.save(broken, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"classifier\.4\.bias holds NaN"):
        load_checkpoint(net, tmp_path / "own.pth")


def test_torchvisions_reference_checkpoints_load(
    state: State, net: Segmenter, tmp_path: Path
) -> None:
    """As references/segmentation/train.py saves them, arguments and schedulers included."""
    args = argparse.Namespace(data_path="/data", lr=0.01, aux_loss=True, device="cuda", opts=[1])
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=2)
    main = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=9, power=0.9)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, main], milestones=[2])
    checkpoint = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 7,
        "args": args,
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
    }
    torch.save(checkpoint, tmp_path / "model_7.pth")
    load_checkpoint(net, tmp_path / "model_7.pth")
    assert_holds(net, state)


def test_several_networks_in_a_file_are_refused(state: State, tmp_path: Path) -> None:
    both = {**prefixed(state, "student."), **prefixed(state, "teacher.")}
    torch.save(both, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"several networks, under student\., teacher\."):
        read_checkpoint(tmp_path / "own.pth")


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="holds no tensors, but epoch, model"):
        read_checkpoint(tmp_path / "own.pth")


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run while loading",))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a valid PyTorch checkpoint"),
        (b"<!DOCTYPE html><html>Not found</html>", "web page or a Git LFS pointer"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "HDF5 file"),
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


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_network_is_refused_by_what_it_names(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "net.pth"
    torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="save the weights alone") as caught:
        read_checkpoint(path)
    assert ("names torch.nn.modules.linear.Linear" in str(caught.value)) == zipped


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    with pytest.raises(CheckpointError, match=r"TorchScript model.*torch\.jit\.load.*state_dict"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("model/models/model.json", r"exported by torch\.export"),
        ("MAR-INF/MANIFEST.json", "an archive for TorchServe"),
    ],
)
def test_other_zip_files_are_named(tmp_path: Path, entry: str, complaint: str) -> None:
    with zipfile.ZipFile(tmp_path / "own.pth", "w") as archive:
        archive.writestr(entry, "{}")
    with pytest.raises(CheckpointError, match=complaint):
        read_checkpoint(tmp_path / "own.pth")


def test_a_damaged_zip_file_is_named(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "own.pth")
    content = bytearray((tmp_path / "own.pth").read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory : directory + 4] = bytes(4)
    (tmp_path / "own.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a valid PyTorch checkpoint"):
        read_checkpoint(tmp_path / "own.pth")


def test_safetensors_are_known_by_their_content(
    state: State, net: Segmenter, tmp_path: Path
) -> None:
    save_file(state, tmp_path / "own.pth")
    load_checkpoint(net, tmp_path / "own.pth")
    assert_holds(net, state)


@pytest.mark.parametrize("version", ["2.4.0", "2.9.1+cu126"])
def test_a_pytorch_without_safe_pickles_reads_verified_files_only(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    torch.save(state, tmp_path / "own.pth")
    save_file(state, tmp_path / "own.safetensors")
    monkeypatch.setattr(torch, "__version__", version)
    if version == "2.4.0":
        monkeypatch.delattr(torch.serialization, "safe_globals")  # since 2.5
    with pytest.raises(CheckpointError, match=r"CVE-2025-32434.*CVE-2026-24747.*safetensors"):
        read_checkpoint(tmp_path / "own.pth")
    assert read_checkpoint(tmp_path / "own.safetensors").keys() == state.keys()
    assert read_weights(tmp_path / "own.pth", verified=True).state.keys() == state.keys()


def test_truncated_files_are_named(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "own.pth")
    save_file(state, tmp_path / "own.safetensors")
    for path in (tmp_path / "own.pth", tmp_path / "own.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match=r"is not a valid (PyTorch|safetensors)"):
            read_checkpoint(path)


def assert_holds(net: nn.Module, state: State, tolerance: float = 0.0) -> None:
    for name, value in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, state[name].to(value), rtol=tolerance, atol=tolerance)
