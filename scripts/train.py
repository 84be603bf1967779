"""Train a preset's network on photos and masks, from scratch or from a checkpoint.

    python -m scripts.train --preset street-resnet18 --data FOLDER --output build/street

FOLDER holds `train/` and `val/`, each with `images/` and `masks/` (scripts/training/dataset.py).
Ctrl-C saves a checkpoint; --resume continues such a run as if it had not been stopped. With
--leave-out the frames of one sequence of `train/` are validated on instead of trained on, and
`val/` is not read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.preset import PresetError, load_preset
from scripts.archive.checkpoint import CheckpointError
from scripts.common.terminal import say
from scripts.training.augmentation import AUGMENTATIONS
from scripts.training.dataset import DataError, find_frames, leave_out
from scripts.training.interruption import Interrupted
from scripts.training.loop import train
from scripts.training.trainer import Settings


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", required=True, help="a preset's name or file")
    add("--data", type=Path, required=True, help="folder with train/ and val/")
    add("--output", type=Path, required=True, help="folder for the checkpoint and the weights")
    add("--init", help="start from a checkpoint, or from the weights of the preset of this name")
    add("--resume", action="store_true", help="continue from OUTPUT/last.pth")
    add("--leave-out", metavar="SEQUENCE", help="validate on these frames of train/ instead")
    add("--steps", type=int, default=4000)
    add("--coarse", type=float, default=0.0, help="share of steps at twice the output stride")
    add("--augmentation", choices=sorted(AUGMENTATIONS), default="mild")
    add("--aux-head", action="store_true", help="train with an auxiliary head, then drop it")
    add("--batch", type=int, default=8, help="crops in a step; at least 2, for the batch norms")
    add("--crop", type=int, nargs=2, default=(256, 352), metavar=("H", "W"), help="px")
    add("--lr", type=float, default=1e-3, help="highest learning rate of AdamW")
    add("--weight-decay", type=float, default=0.02, help="of AdamW")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes that draw samples")
    add("--save-every", type=int, default=100, help="steps between checkpoints")
    add("--validate-every", type=int, default=500, help="steps between validations")
    options = parser.parse_args(arguments)
    if options.batch < 2:
        parser.error(f"--batch is {options.batch}; batch norms need at least 2")
    return options


def run(options: argparse.Namespace) -> None:
    frames = find_frames(options.data / "train")
    if options.leave_out:
        frames, val_frames = leave_out(frames, options.leave_out)
    else:
        val_frames = find_frames(options.data / "val")
    settings = Settings(
        steps=options.steps,
        batch=options.batch,
        crop=tuple(options.crop),
        augmentation=AUGMENTATIONS[options.augmentation],
        coarse=options.coarse,
        peak_lr=options.lr,
        weight_decay=options.weight_decay,
        aux_head=options.aux_head,
        init=options.init,
        seed=options.seed,
        workers=options.workers,
        save_every=options.save_every,
        validate_every=options.validate_every,
    )
    preset = load_preset(options.preset)
    train(preset, frames, val_frames, options.output, settings, resume=options.resume)


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        run(parse_arguments(arguments))
    except (PresetError, CheckpointError, DataError) as error:
        say(f"train: {error}")
        return 1
    except Interrupted as stop:
        say(f"train: {stop}")
        return stop.exit_status
    except KeyboardInterrupt:  # while frames are read, or pressed twice
        say("train: stopped; --resume continues from the last checkpoint, if there is one")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
