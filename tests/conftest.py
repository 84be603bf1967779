"""What tests of several packages share."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import torch
from torch import nn

# A shell starts `make test &` with Ctrl-C ignored, all that it starts inherits that, and tests
# which press it would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def randomized() -> Callable[[nn.Module], nn.Module]:
    return randomize


def randomize(net: nn.Module, seed: int = 0) -> nn.Module:
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
