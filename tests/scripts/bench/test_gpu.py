"""The GPU benchmark, on the CPU and at a small size."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model import build_segmenter
from scripts import bench_gpu
from scripts.bench import gpu, gpu_check, gpu_layers, gpu_sections
from scripts.bench.gpu import (
    CONTENDERS,
    Figure,
    Logits,
    figures_of,
    operations,
    product_rate,
    table,
)
from scripts.bench.gpu_check import read_figures, run_section, run_sections
from scripts.bench.gpu_layers import Row, layers_of
from scripts.bench.gpu_sections import SECTIONS, Options, Section

CPU = torch.device("cpu")
SMALL = Options(CPU, ["resnet50"], [(33, 49)], [1])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    monkeypatch.setattr(gpu, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(gpu, "WARM_UPS", 0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("contender", [name for name in CONTENDERS if name != "max-autotune"])
@pytest.mark.slow
def test_contenders_give_the_same_classes(contender: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # restored afterwards
    (figure,) = figures_of("resnet50", [contender], CPU, [(33, 49)], [2])
    assert figure.contender == contender
    assert figure.agreement > 0.9
    assert figure.images_per_second > 0


def test_operations_are_those_that_are_known() -> None:
    plain = Logits("resnet50", build_segmenter("resnet50", 21).state_dict()).eval()
    # torchvision states 178.722 billion multiplications with the auxiliary head, which has 10.
    assert operations(plain, (520, 520)) == pytest.approx(2 * 168.7e9, rel=0.01)


@pytest.mark.usefixtures("quick")
def test_the_rate_of_products_is_positive() -> None:
    assert product_rate(CPU, side=32) > 0


def test_the_table_has_the_speedup_over_eager_bf16() -> None:
    size = (520, 520)
    figures = [
        Figure("resnet50", size, 1, "ours", 25, 0.25, 0.999),
        Figure("resnet50", size, 8, "ours", 50, 0.5, 0.999),
        Figure("resnet50", size, 1, "eager-bf16", 10, 0.1, 1),
    ]
    assert table(figures).splitlines()[2:] == [
        "| resnet50 | 520x520 | 1 | ours | 25.0 | 40.000 | 2.50 | 0.25 | 0.9990 |",
        "| resnet50 | 520x520 | 1 | eager-bf16 | 10.0 | 100.000 | 1.00 | 0.10 | 1.0000 |",
        "| resnet50 | 520x520 | 8 | ours | 50.0 | 20.000 |  | 0.50 | 0.9990 |",
    ]


def test_every_convolution_is_listed() -> None:
    layers = layers_of("resnet50", (520, 520))
    assert sum(count for _, count in layers) == 61
    assert sum(count for layer, count in layers if layer.then == "add_relu") == 16
    assert sum(count for layer, count in layers if not layer.then) == 5  # shortcuts and logits


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("section", ["convolutions", "shapes", "mask"])
@pytest.mark.slow
def test_sections_run_without_a_gpu(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators that only a GPU has are errors in their rows."""
    few = [pair for pair in layers_of("resnet50", (33, 49)) if pair[0].conv.in_channels <= 64]
    monkeypatch.setattr(gpu_layers, "layers_of", lambda network, size: few)
    monkeypatch.setattr(gpu_sections, "FIRST_SIZES", [(33, 49)])
    monkeypatch.setattr(gpu_sections, "MASK_SIZE", (60, 80))
    run_section(section, SMALL, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {row["section"] for row in rows} == {section}
    if section == "convolutions":
        assert all("plain_us" in row for row in rows)
        assert any("cudnn_error" in row for row in rows)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections of which one breaks and one hangs, run in this process instead of their own."""

    def good(options: Options) -> Iterator[Row]:
        yield {"figure": vars(Figure("resnet50", (33, 49), 1, "good", 10, 0.1, 1))}

    def broken(options: Options) -> Iterator[Row]:
        yield {"first": 1}
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def hanging(options: Options) -> Iterator[Row]:
        yield {"first": 1}
        raise subprocess.TimeoutExpired("section", 1.0)

    def run(command: list[str], **_: object) -> None:
        try:
            bench_gpu.main(command[3:])
        except RuntimeError as error:
            raise subprocess.CalledProcessError(1, command) from error

    sections = {
        "broken": Section(broken, limit=1),
        "hanging": Section(hanging, limit=1),
        "good": Section(good, limit=1),
    }
    for module in (gpu_check, bench_gpu):
        monkeypatch.setattr(module, "SECTIONS", sections)
    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.usefixtures("stand_ins")
def test_a_section_that_fails_costs_no_other(tmp_path: Path) -> None:
    failed = run_sections(["good", "broken", "hanging"], SMALL, tmp_path)
    assert failed == ["broken", "hanging"]
    assert [figure.contender for figure in read_figures(tmp_path)] == ["good"]
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["section"] for row in rows if row.get("first")] == ["broken", "hanging"]
    finished = {row["section"]: row["finished"] for row in rows if "finished" in row}
    assert finished["good"] == "ok"
    assert "exit status 1" in finished["broken"]
    assert "not done within 1 s" in finished["hanging"]
    assert "| good |" in (tmp_path / "table.md").read_text()


@pytest.mark.usefixtures("stand_ins")
def test_the_program_reports_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path), "--device", "cpu", "--sizes", "33x49", "--batches", "1"]
    assert bench_gpu.main([*arguments, "--sections", "good"]) == 0
    assert bench_gpu.main([*arguments, "--sections", "good", "broken"]) == 1
    assert '{"failed": ["broken"]}' in capsys.readouterr().out


def test_sections_have_limits_that_fit_ten_minutes() -> None:
    quick = [section.limit for name, section in SECTIONS.items() if name != "max-autotune"]
    assert sum(quick) <= 12 * 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so it would run")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_gpu.main(["--out", str(tmp_path)]) == 1
    assert "no GPU" in capsys.readouterr().err
