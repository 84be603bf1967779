"""What has become of the images of a run, and its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from segmenter_client.cli.outputs import ImageOutputs
from segmenter_client.cli.terminal import printable, say


@dataclass
class RunSummary:
    """Counts of images and pixels so far."""

    num_images: int  # to segment in all
    skipped: int = 0  # all their outputs existed
    segmented: int = 0
    pixels: Counter[str] = field(default_factory=Counter)  # by class label
    images: Counter[str] = field(default_factory=Counter)  # that contain the class
    failures: list[tuple[str, str]] = field(default_factory=list)  # image, reason

    def add(self, outputs: ImageOutputs) -> None:
        self.segmented += 1
        for figures in outputs.classes:
            self.pixels[figures.label] += figures.pixels
            self.images[figures.label] += 1


def report(summary: RunSummary) -> None:
    """Classes on stdout; failures and totals on stderr."""
    total = sum(summary.pixels.values())
    if total:
        print("  share  images  class")
        for label, pixels in summary.pixels.most_common():
            print(f"{pixels / total:7.1%}  {summary.images[label]:6}  {label}")
    for name, reason in summary.failures:
        say(f"failed: {printable(name)}: {reason}")
    counts = {
        "segmented": summary.segmented,
        "already done": summary.skipped,
        "failed": len(summary.failures),
    }
    counts["not finished"] = summary.num_images - sum(counts.values())
    say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
