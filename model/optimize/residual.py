"""What the optimised residual blocks have in common: the last convolution adds the shortcut."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """last(first(x), shortcut(x)): (B, C, H, W) -> (B, C', h, w).

    Stands for torchvision's BasicBlock and Bottleneck; only its number of convolutions differs.
    Where `last` writes the sum into its second argument, the block overwrites its input.
    """

    def __init__(
        self, first: Iterable[nn.Module], last: nn.Module, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(*first)
        self.last = last
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.first(x), self.shortcut(x))
        return y
