"""The machine on which a measurement was made."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """The processor's name: on Linux from the kernel, since Python does not know it there."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
