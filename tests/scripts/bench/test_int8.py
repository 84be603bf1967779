from __future__ import annotations

import pytest
import torch
from torch import nn

from model import build_segmenter, calibrate, optimize_for_inference
from model.optimize.quantized_conv import FusedQuantizedConv, can_quantize
from scripts.bench.int8 import convolutions_alone, int8_tasks

pytestmark = pytest.mark.skipif(not can_quantize(), reason="no int8 convolutions")


def test_all_convolutions_of_a_forward_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_segmenter("resnet18", 5, (2, 4), features="layer3").eval()
    image = torch.randn(1, 3, 65, 65)
    fast = optimize_for_inference(net, "cpu", "int8", calibrate(net, [image]))
    run = convolutions_alone(fast, image)
    calls = []
    for name, module in fast.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    with torch.inference_mode():
        run()
    int8 = [name for name, m in fast.named_modules() if isinstance(m, FusedQuantizedConv)]
    assert set(int8) <= set(calls)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(calls) == len(set(calls)) == len(convs)


def test_ours_is_timed_with_its_convolutions_beside_it() -> None:
    net = build_segmenter("resnet18", 5, (2, 4), features="layer3").eval()
    tasks = int8_tasks(net, torch.randn(1, 3, 65, 65))
    assert list(tasks) == ["ours, int8", "ours, int8: its convolutions alone"]
    with torch.inference_mode():
        for task in tasks.values():
            task()
