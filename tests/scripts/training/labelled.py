"""A small labelled data set for tests: blue above, grey below, a red box in front of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

LABELS = ("sky", "ground", "box")
COLOURS = np.array(((90, 140, 220), (90, 90, 90), (200, 40, 40)), np.uint8)


def draw(seed: int, height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 (H, W, 3) and its class ids (H, W), with a border of void."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    mask[rng.integers(height // 3, 2 * height // 3) :] = 1
    top, left = rng.integers(height // 2), rng.integers(width // 2)
    mask[top : top + height // 3, left : left + width // 3] = 2
    noise = rng.integers(-10, 11, (height, width, 1))
    image = (COLOURS[mask] + noise).astype(np.uint8)
    mask[[0, -1]] = mask[:, [0, -1]] = len(LABELS)
    return image, mask


def write_split(folder: Path, num_frames: int, seed: int = 0, sequence: str = "") -> Path:
    """images/ and masks/ with frames 0.png, 1.png and so on, or those of a sequence, a_0.png."""
    prefix = f"{sequence}_" if sequence else ""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        image, mask = draw(seed + number)
        Image.fromarray(image).save(folder / "images" / f"{prefix}{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{prefix}{number}.png")
    return folder


def write_data(folder: Path) -> Path:
    write_split(folder / "train", 6)
    write_split(folder / "val", 2, seed=100)
    return folder


def write_preset(path: Path) -> Path:
    document = {
        "name": path.stem,
        "description": "Drawn sky, ground and boxes.",
        "backbone": "resnet18",
        "features": "layer3",
        "output_stride": 8,
        "atrous_rates": [2, 4, 6],
        "short_side": 64,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "labels": list(LABELS),
        "palette": COLOURS.tolist(),
    }
    path.write_text(yaml.safe_dump(document))
    return path
