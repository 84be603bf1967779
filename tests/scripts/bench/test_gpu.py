"""The GPU benchmark's parts, on the CPU and at a small size."""

from __future__ import annotations

import pytest
import torch

from model import build_segmenter
from scripts.bench import gpu as bench_gpu
from scripts.bench.gpu import (
    COMPILED,
    PLAIN,
    WAYS,
    Figure,
    Logits,
    figures_of,
    main,
    operations,
    product_rate,
    row,
)

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "ROUNDS", 1)
    monkeypatch.setattr(bench_gpu, "ROUND_SECONDS", 0.0)


@pytest.mark.usefixtures("quick")
def test_contenders_answer_alike() -> None:
    ways = [way for way in WAYS if way != COMPILED]
    figures = list(figures_of("resnet50", ways, CPU, [(65, 97)], [2], rate=1e12))
    assert [figure.contender for figure in figures] == ways
    assert figures[0].agreement == 1
    assert all(figure.agreement > 0.9 for figure in figures)
    assert all(figure.images_per_second > 0 for figure in figures)


@pytest.mark.usefixtures("quick")
def test_one_that_fails_leaves_the_others_their_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> bench_gpu.Forward:
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(WAYS, "broken", broken)
    failed, plain = figures_of("resnet50", ["broken", PLAIN], CPU, [(65, 97)], [1], rate=1e12)
    assert "| failed |" in row(failed, failed)
    assert "failed" not in row(plain, failed)
    assert "no kernel image" in capsys.readouterr().err


def test_operations_are_those_that_are_known() -> None:
    plain = Logits("resnet50", build_segmenter("resnet50", 21).state_dict()).eval()
    # torchvision states 178.722 billion multiplications with the auxiliary head, which has 10.
    assert operations(plain, (520, 520)) == pytest.approx(2 * 168.7e9, rel=0.01)


def test_the_rate_of_products_is_positive() -> None:
    assert product_rate(torch.device("cpu"), side=32) > 0


def test_a_row_has_the_gain_over_the_first() -> None:
    plain = Figure("resnet50", (520, 520), 1, "plain", 10, 0.1, 1)
    ours = Figure("resnet50", (520, 520), 1, "ours", 25, 0.25, 0.999)
    assert row(ours, plain) == "| resnet50 | 520x520 | 1 | ours | 25.0 | 2.50 | 0.25 | 0.9990 |"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so it would run")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "no GPU" in capsys.readouterr().err
