"""What tests of several packages share, and the tier that each test belongs to."""

from __future__ import annotations

import signal
from typing import TypeVar

import pytest
import torch
from hypothesis import settings
from torch import nn

Net = TypeVar("Net", bound=nn.Module)

# A shell starts `make test &` with Ctrl-C ignored, and its children inherit that: tests that send
# Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis' deadline of 200 ms for an example would fail tests on a busy machine.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Fixtures that start TorchServe, nginx, Chromium or promtool, or a port for an instance.
SERVICE_FIXTURES = frozenset(
    {
        "browser",
        "frail",
        "front",
        "model",
        "nginx",
        "on_ray",
        "port",
        "promtool",
        "start_gateway",
        "stub",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a running program; those without such a fixture mark themselves."""
    for item in items:
        if isinstance(item, pytest.Function) and SERVICE_FIXTURES & set(item.fixturenames):
            item.add_marker("service")


def randomize(net: Net, seed: int = 0) -> Net:
    """Give a network seeded weights and batch-norm statistics, as if trained; eval mode.

    Fresh batch norms are identities in eval mode, and would hide a mistake in folding or naming.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter, generator=generator)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return net.eval()
