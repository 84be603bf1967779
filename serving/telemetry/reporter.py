"""The samples of each batch, and from time to time the class shares of recent photos."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from torch import Tensor

from serving.telemetry.drift import Drift
from serving.telemetry.metrics import BatchStats, Sample, batch_samples, share_samples

logger = logging.getLogger(__name__)

# Seconds between two reports of the class shares, of which there are as many as classes. Shorter
# than Prometheus' usual scrape interval of 15 s.
SHARES_SECONDS = 10.0


class Reporter:
    """Turns batches into samples. For one thread."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.drift = Drift()
        self.next_shares = time.monotonic()

    def samples(self, stats: BatchStats, logits: Tensor | None) -> list[Sample]:
        """A batch's samples; a failure here is logged and costs no response.

        `logits` (1, num_classes, h, w) are one photo's: one of a batch is enough for the shares.
        """
        try:
            samples = batch_samples(stats)
            if logits is not None:
                self.drift.add(logits)
            if time.monotonic() >= self.next_shares and self.drift.photos:
                self.next_shares = time.monotonic() + SHARES_SECONDS
                samples += share_samples(self.drift.take(), self.labels)
            return samples
        except Exception:
            logger.exception("no metrics for the batch with request %s", stats.request_id)
            return []
