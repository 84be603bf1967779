"""Time and check the network on a GPU, in sections with time limits.

    python -m scripts.bench_gpu --out FOLDER [--sections forwards atrous] [--batches 1 8]

FOLDER gets results.jsonl, a log, and the forwards' table in Markdown. Needs torch, torchvision and
Pillow; the section `tests` pytest and Hypothesis, too.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision

from scripts.bench.gpu import BATCHES, NETWORKS, SIZES, Size
from scripts.bench.gpu_check import append, run_section, run_sections
from scripts.bench.gpu_sections import SECTIONS, Options


def size_of(text: str) -> Size:
    height, width = text.split("x")
    return int(height), int(width)


def conditions(device: torch.device) -> dict[str, object]:
    """What the figures depend on beside the code."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_gpu", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="the folder of the results")
    add("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    add("--sizes", nargs="+", type=size_of, default=SIZES, metavar="HxW", help="px")
    add("--batches", nargs="+", type=int, default=BATCHES, metavar="N")
    add("--device", type=torch.device, default=torch.device("cuda"))
    add("--limit", type=float, help="seconds for each section, in place of its own limit")
    add("--section", choices=SECTIONS, help=argparse.SUPPRESS)  # one, in this process
    choices = parser.parse_args(arguments)
    if choices.device.type == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no GPU; scripts.benchmark is for the CPU", file=sys.stderr)
        return 1
    options = Options(choices.device, choices.networks, choices.sizes, choices.batches)
    choices.out.mkdir(parents=True, exist_ok=True)
    if choices.section:
        run_section(choices.section, options, choices.out)
        return 0
    append(choices.out, "conditions", conditions(choices.device))
    failed = run_sections(choices.sections, options, choices.out, choices.limit)
    print((choices.out / "table.md").read_text())
    print(json.dumps({"failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
