"""The command line against a real TorchServe."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.common.terminal import ROOT
from segmenter_client.cli.program import main
from segmenter_client.formats import FILE_SUFFIXES
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

TIMEOUT = 60  # seconds: a bound against hanging


def test_all_outputs_of_a_folder(
    model: RunningModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path
    monkeypatch.chdir(here)
    body = encoded(photo(75, 113), "PNG")
    for name in ("in/a.png", "in/deep/a.png", "in/deep/a b \u00e9.png"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(body)
    (here / "in/deep/broken.jpg").write_bytes(b"a text")

    names = ",".join(FILE_SUFFIXES)
    arguments = ["in", "--recursive", "--as", names, "--output", "out", "--url", model.url]
    assert main(arguments) == 1

    assert sum(path.is_file() for path in (here / "out").rglob("*")) == 3 * len(FILE_SUFFIXES)
    made = here / "out/in/deep"
    mask = np.array(opened(made / "a.png.mask.png"))
    np.testing.assert_array_equal(mask, np.load(made / "a.png.npy"))
    counts = {entry["id"]: entry["pixels"] for entry in read_json(made / "a.png.json")["classes"]}
    assert counts == {
        index: count for index, count in enumerate(np.bincount(mask.ravel())) if count
    }
    for name in ("a.png.overlay.jpg", "a.png.confidence.png"):
        assert opened(made / name).size == (113, 75)
    labels = {entry["label"] for entry in read_json(made / "a.png.json")["classes"]}
    for name in ("coco", "coco-polygons"):
        coco = read_json(made / f"a.png.{name}.json")
        assert coco["annotations"]
        assert coco["images"][0]["file_name"] == "in/deep/a.png"
    assert {detection["label"] for detection in read_json(made / "a.png.cvat.json")} <= labels
    assert read_json(made / "a.png.geojson")["features"]
    assert read_json(made / "a.png.labelstudio.json")["result"]
    printed = capsys.readouterr()
    assert "failed: in/deep/broken.jpg: unsupported_format:" in printed.err
    assert "3 segmented, 1 failed" in printed.err
    assert "      3  " + model.preset.labels[max(counts, key=lambda k: counts[k])] in printed.out

    (here / "in/deep/broken.jpg").unlink()
    (made / "a.png.overlay.jpg").unlink()
    assert main(arguments) == 0
    assert "1 segmented, 2 already done" in capsys.readouterr().err


def test_check(model: RunningModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--url", model.url]) == 0
    printed = capsys.readouterr().out
    assert f"{model.preset.name} " in printed
    assert model.digest in printed
    assert "max" not in printed
    assert ", ".join(FILE_SUFFIXES) in printed


def test_a_table_of_classes(
    model: RunningModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(encoded(photo(75, 113), "PNG"))
    assert main(["a.png", "--url", model.url, "--summary", "classes.csv"]) == 0
    with (tmp_path / "classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    mask = np.array(opened(tmp_path / "segmented/a.png.mask.png"))
    labels = {label: index for index, label in enumerate(model.preset.labels)}
    assert sum(int(row["pixels"]) for row in rows) == mask.size
    for row in rows:
        assert int(row["pixels"]) == (mask == labels[row["class"]]).sum()
        assert float(row["share"]) == pytest.approx(int(row["pixels"]) / mask.size)
        assert 0 < float(row["confidence"]) <= 1


def test_stdin_to_stdout(model: RunningModel) -> None:
    body = encoded(photo(75, 113), "JPEG")
    command = [sys.executable, "-m", "scripts.segment", "-", "--url", model.url]
    done = subprocess.run(command, input=body, capture_output=True, cwd=ROOT, timeout=TIMEOUT)
    assert done.returncode == 0
    assert Image.open(io.BytesIO(done.stdout)).size == (113, 75)


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
