"""What a worker checks before it serves in int8, when the calibration is made."""

from __future__ import annotations

from torch import nn

from model.calibration import CPU
from model.preset import Preset
from scripts.quantization.measurement import TooFarOff
from serving.runtime.golden import (
    LARGEST_INT8_DEVIATION,
    deviation,
    exact_logits,
    served_logits,
)


def check_golden_image(quantized: nn.Module, net: nn.Module, preset: Preset) -> None:
    """Raise TooFarOff where a worker would not serve the int8 network.

    `quantized` reads pixels, `net` is the plain network. Raises ArchiveError where its logits are
    not finite.
    """
    off = deviation(served_logits(quantized, preset, CPU), exact_logits(net, preset))
    if not off <= LARGEST_INT8_DEVIATION:  # NaN is not
        raise TooFarOff(
            f"int8 moves the logits of the golden image by {off:.1%}, and a worker serves it up to "
            f"{LARGEST_INT8_DEVIATION:.0%}: the calibration is not kept. Try more photos, or others"
        )
