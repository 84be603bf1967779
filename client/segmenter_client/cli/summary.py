"""What has become of the images of a run, and its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from segmenter_client.cli.outputs import ImageOutputs
from segmenter_client.cli.terminal import printable, say


@dataclass
class RunSummary:
    """Counts of images and pixels so far."""

    num_images: int  # to segment in all
    segmented: int = 0
    skipped: int = 0  # all their outputs existed
    pixels: Counter[str] = field(default_factory=Counter)  # by class label
    images: Counter[str] = field(default_factory=Counter)  # that contain the class
    failures: list[tuple[Path, str]] = field(default_factory=list)  # image, reason

    def add(self, outputs: ImageOutputs | None) -> None:
        """None stands for an image that was skipped."""
        if outputs is None:
            self.skipped += 1
            return
        self.segmented += 1
        self.pixels.update(outputs.pixels)
        self.images.update(outputs.pixels.keys())


def report(summary: RunSummary) -> None:
    """Classes on stdout; failures and totals on stderr."""
    total = sum(summary.pixels.values())
    if total:
        print("  share  images  class")
        for label, pixels in summary.pixels.most_common():
            print(f"{pixels / total:7.1%}  {summary.images[label]:6}  {label}")
    for path, reason in summary.failures:
        say(f"failed: {printable(path)}: {reason}")
    counts = {
        "segmented": summary.segmented,
        "already done": summary.skipped,
        "failed": len(summary.failures),
    }
    counts["not finished"] = summary.num_images - sum(counts.values())
    say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
