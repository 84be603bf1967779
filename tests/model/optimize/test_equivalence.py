"""The comparison of fast code with plain code in poisoned memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.optimize import equivalence
from model.optimize.equivalence import poison_free_memory, relative_difference


def test_the_difference_is_a_share_of_the_plain_outputs_norm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(equivalence, "POISONED_BYTES", 16)
    x = torch.randn(5)
    assert relative_difference(lambda x: 2.5 * x, lambda x: 2 * x, x) == pytest.approx(0.25)
    assert relative_difference(torch.Tensor.double, lambda x: x, x) == 0
    assert not relative_difference(lambda x: x * torch.nan, lambda x: x, x) <= 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_plain_output_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(FloatingPointError, match="plain output is not finite"):
        relative_difference(lambda x: x, lambda x: value * x, torch.ones(5))


def test_poison_is_what_the_allocator_hands_out_next(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("empty"))
    full = torch.full

    def recorded(*args: Any, **options: Any) -> Tensor:
        events.append("fill")
        return full((8,), *args[1:], **options)

    monkeypatch.setattr(torch, "full", recorded)
    poison_free_memory(torch.device("cpu"))
    assert events == ["empty", "fill"]
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert full((8,), 0xFF, dtype=torch.uint8).view(dtype).isnan().all()
