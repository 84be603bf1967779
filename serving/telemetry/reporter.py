"""What there is to tell of the batches, told to TorchServe."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from serving.telemetry.drift import Drift
from serving.telemetry.metrics import Batch, batch_samples, share_samples, write

logger = logging.getLogger(__name__)

# Seconds between two writings of the class shares, of which there are as many as classes. Less
# than Prometheus lets pass between two readings.
SHARES_SECONDS = 10.0


class Reporter:
    """Writes each batch's figures, and now and then the classes' shares. For one thread."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.drift = Drift()
        self.next_shares = time.monotonic()

    def report(self, batch: Batch, logits: Iterable[object], metrics: Any) -> None:
        """Write to `metrics`, TorchServe's `context.metrics`; what fails there costs no answer.

        `logits` are the batch's, (1, num_classes, h, w) each, or whatever a request has instead.
        """
        try:
            write(batch_samples(batch), metrics)
            # One photo of a batch says enough of what photos there are.
            for seen in [item for item in logits if isinstance(item, Tensor)][:1]:
                self.drift.add(seen)
            if time.monotonic() >= self.next_shares and self.drift.photos:
                self.next_shares = time.monotonic() + SHARES_SECONDS
                write(share_samples(self.drift.take(), self.labels), metrics)
        except Exception:
            logger.exception("figures are lost of the batch with request %s", batch.request_id)
