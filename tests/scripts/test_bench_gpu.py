"""The GPU benchmark's parts, on the CPU and at a small size."""

from __future__ import annotations

import pytest
import torch

from scripts.bench_gpu import Figure, Logits, figures_of, main, operations, product_rate, table


def test_contenders_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench_gpu.ROUNDS", 1)
    monkeypatch.setattr("scripts.bench_gpu.ROUND_SECONDS", 0.0)
    monkeypatch.setattr("scripts.bench_gpu.GEMM_SIDE", 64)
    cpu = torch.device("cpu")
    figures = list(figures_of("resnet50", cpu, [(65, 97)], [2], compiled=False))
    assert [figure.contender.split(",")[0] for figure in figures] == [
        "torchvision",
        "torchvision",
        "ours",
    ]
    assert figures[0].agreement == 1
    assert all(figure.agreement > 0.9 for figure in figures)
    assert all(figure.images_per_second > 0 for figure in figures)


def test_operations_are_those_that_are_known() -> None:
    # torchvision states 178.722 billion multiplications with the auxiliary head, which has 10.
    assert operations(Logits("resnet50").eval(), (520, 520)) == pytest.approx(2 * 168.7e9, rel=0.01)


def test_the_rate_of_products_is_positive() -> None:
    assert product_rate(torch.device("cpu"), side=32) > 0


def test_gains_are_over_the_first_of_the_same_work() -> None:
    figures = [
        Figure("resnet50", (520, 520), 1, "plain", 10, 0.1, 1),
        Figure("resnet50", (520, 520), 1, "ours", 25, 0.25, 0.999),
        Figure("resnet50", (520, 520), 8, "plain", 20, 0.2, 1),
    ]
    gains = [line.split("|")[6].strip() for line in table(figures).splitlines()[2:]]
    assert gains == ["1.00", "2.50", "1.00"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so it would run")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "no GPU" in capsys.readouterr().err
