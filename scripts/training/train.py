"""Train a preset's network on photos and masks, from nothing or from a checkpoint.

    python -m scripts.train --preset street-resnet18 --data FOLDER --output build/street

FOLDER holds `train/` and `val/`, each with `images/` and `masks/` (dataset.py). Every
sample and every dropout mask is a function of the seed and of its number in the run: a run that was
stopped goes on with --resume as if it had not been.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv
from tqdm import tqdm

from model import optimize_for_inference
from model.preset import Preset, PresetError, build_network, load_preset, preset_names
from model.segmenter import Segmenter
from scripts.archive.checkpoint import CheckpointError, published_weights, read_checkpoint
from scripts.common.terminal import say
from scripts.training.dataset import (
    VOID,
    DataError,
    Frame,
    check_frames,
    find_frames,
    read_image,
    read_target,
)
from scripts.training.evaluate import Scores, in_process, score

# Frames are scaled by these factors around the preset's input size, a factor of two to either side
# of three quarters of it: a network does best on things a little larger than it was trained on
# (Touvron et al. 2019, https://arxiv.org/abs/1906.06423; 0.7 points of mIoU on CamVid's val).
SCALES: Final = (0.375, 1.5)

# Share of the crops laid around a pixel of a class drawn evenly from those in the frame: poles and
# signs cover 1 % of a street, and most crops laid at random would miss them.
BALANCED_CROPS: Final = 0.5

# Ranges of what changes a crop's light. Wide on purpose: another drive, hour or camera differ more
# than the frames of one drive.
CHANNEL_GAIN: Final = (0.85, 1.15)
BRIGHTNESS: Final = (0.5, 1.5)
SATURATION: Final = (0.3, 1.6)
CONTRAST: Final = (0.6, 1.5)
GAMMA: Final = (0.6, 1.7)

MAX_CLASS_WEIGHT: Final = 3.0  # beyond it a rare class is painted over its surroundings
LOVASZ_STRIDE: Final = 4  # px; sorting every 16th pixel takes 5 % of a step, all would double it
EMA_DECAY: Final = 0.998  # averages the weights over about the last 500 steps
WARM_UP: Final = 0.05  # share of the steps in which the learning rate rises
WEIGHT_DECAY: Final = 0.02


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Sample number -> augmented crop: normalised fp32 (3, h, w), and target int64 (h, w)."""

    def __init__(
        self, frames: Sequence[Frame], preset: Preset, size: tuple[int, int], seed: int
    ) -> None:
        self.frames = frames
        self.preset = preset
        self.size = size
        self.seed = seed

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        epoch, position = divmod(number, len(self.frames))
        order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.frames))
        frame = self.frames[order[position]]
        image, target = read_image(frame), read_target(frame, self.preset.num_classes)

        rng = np.random.default_rng([self.seed, 1, number])
        scale = self.preset.short_side / min(target.shape) * log_uniform(*SCALES, rng)
        image, target = cut(image, target, self.size, scale, rng)
        image = change_light(image.float() / 255, rng)
        image = tv.normalize(image, list(self.preset.mean), list(self.preset.std))
        if rng.random() < 0.5:
            image, target = image.flip(-1), target.flip(-1)

        below, right = (goal - side for goal, side in zip(self.size, target.shape, strict=True))
        image = pad(image, (0, right, 0, below))  # with the mean colour
        return image, pad(target, (0, right, 0, below), value=VOID).long()


def log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def cut(
    image: Tensor, target: Tensor, size: tuple[int, int], scale: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A window of `size` px once scaled by `scale`, or of the whole frame where that is smaller.

    image (3, H, W) and target (H, W), uint8 -> (3, h, w) and (h, w).
    """
    frame = target.shape
    window = [min(side, round(goal / scale)) for side, goal in zip(frame, size, strict=True)]
    room = [side - extent for side, extent in zip(frame, window, strict=True)]
    corner = [int(rng.integers(free + 1)) for free in room]
    classes = target[target != VOID].bincount().nonzero().flatten()
    if len(classes) and rng.random() < BALANCED_CROPS:
        places = (target == rng.choice(classes.numpy())).nonzero()
        place = places[rng.integers(len(places))].tolist()
        corner = [
            int(np.clip(at - rng.integers(extent), 0, free))
            for at, extent, free in zip(place, window, room, strict=True)
        ]
    scaled = [min(goal, round(extent * scale)) for extent, goal in zip(window, size, strict=True)]
    image = tv.crop(image, *corner, *window)
    target = tv.crop(target[None], *corner, *window)
    return (
        tv.resize(image, scaled, antialias=True),
        tv.resize(target, scaled, interpolation=InterpolationMode.NEAREST_EXACT)[0],
    )


def change_light(image: Tensor, rng: np.random.Generator) -> Tensor:
    """RGB (3, h, w) in [0, 1] under another light: tint, exposure, saturation, contrast, gamma."""
    tint = torch.from_numpy(rng.uniform(*CHANNEL_GAIN, size=(3, 1, 1)).astype(np.float32))
    image = image * tint * rng.uniform(*BRIGHTNESS)
    grey = image.mean(0, keepdim=True)
    image = grey + (image - grey) * rng.uniform(*SATURATION)
    middle = image.mean()
    image = middle + (image - middle) * rng.uniform(*CONTRAST)
    return image.clamp(0, 1) ** rng.uniform(*GAMMA)


def class_weights(pixels: Tensor) -> Tensor:
    """Pixels per class (C,) -> loss weights: root of the median count over a class's, bounded."""
    counts = pixels.float().clamp(min=1)
    return (counts.median() / counts).sqrt().clamp(1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT)


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász-Softmax (Berman et al., 2018, https://arxiv.org/abs/1705.08790): 1 - IoU, convex.

    logits (B, C, h, w), target (B, h, w). The mean over the classes in the batch, which counts as
    one image. A thin class weighs as much as a wide one, by its outline more than by its area.
    """
    valid = target != VOID
    probabilities, truths = logits.movedim(1, 0)[:, valid].softmax(0), target[valid]  # (C, N), (N,)
    classes = truths.bincount().nonzero().flatten()
    truth = (truths == classes[:, None]).float()  # (classes, N)
    errors, order = (truth - probabilities[classes]).abs().sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    # The IoU that is left after the n worst pixels are got wrong, and what each of them costs.
    total = truth.sum(1, keepdim=True)
    iou = (total - truth.cumsum(1)) / (total + (1 - truth).cumsum(1))
    costs = -iou.diff(dim=1, prepend=torch.ones_like(total))
    loss: Tensor = (errors * costs).sum() / max(1, len(classes))
    return loss


def loss_of(logits: Tensor, target: Tensor, weights: Tensor, step: int, fine: bool) -> Tensor:
    """Cross-entropy of logits (B, C, h, w) at the target's size: weighted, or, if fine, by outline.

    Lovász-Softmax comes in when the stride is fine enough to draw thin things. It balances the
    classes by itself: weights beside it paint rare ones over their surroundings (2 points of mIoU
    on CamVid). It sees every LOVASZ_STRIDE-th pixel of each side, other ones at every step.
    """
    logits = interpolate(logits.float(), target.shape[-2:], mode="bilinear")
    if fine:
        weights = torch.ones_like(weights)
    total = cross_entropy(logits, target, weights, ignore_index=VOID, reduction="sum")
    loss = total / weights[target[target != VOID]].sum().clamp(min=1)  # of crops all void: 0
    if fine:
        rows, columns = divmod(step % LOVASZ_STRIDE**2, LOVASZ_STRIDE)
        sample = np.s_[..., rows::LOVASZ_STRIDE, columns::LOVASZ_STRIDE]
        loss = loss + lovasz(logits[sample], target[sample])
    return loss


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then half a cosine to zero."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def build(preset: Preset, coarse: bool) -> Segmenter:
    """The preset's network, or the same parameters at twice its output stride.

    There the maps have a quarter of the cells. Atrous rates are counted in cells: halved, they
    reach as far in the image.
    """
    if not coarse:
        return build_network(preset)
    rates = tuple(max(1, rate // 2) for rate in preset.atrous_rates)
    return build_network(
        replace(preset, output_stride=2 * preset.output_stride, atrous_rates=rates)
    )


def take_strides(net: nn.Module, like: nn.Module) -> None:
    """Give `net`, in place, the strides and dilations of a network that is otherwise the same."""
    for ours, theirs in zip(net.modules(), like.modules(), strict=True):
        if isinstance(ours, nn.Conv2d) and isinstance(theirs, nn.Conv2d):
            ours.stride, ours.dilation, ours.padding = (
                theirs.stride,
                theirs.dilation,
                theirs.padding,
            )


def initialise(net: Segmenter, source: str) -> None:
    """Load a checkpoint, but for its last layer if that tells other classes apart.

    `source` is its path, or a preset's name for that preset's weights.
    """
    checkpoint = Path(source)
    if source in preset_names():
        weights = load_preset(source).weights
        if weights is None:
            raise CheckpointError(f"preset {source} has no weights to start from")
        checkpoint = published_weights(weights)
    state = read_checkpoint(checkpoint)
    fresh = net.state_dict()
    for name in ("classifier.4.weight", "classifier.4.bias"):
        if name in state and state[name].shape != fresh[name].shape:
            say(f"{name} is {tuple(state[name].shape)} in {checkpoint}: it starts from nothing")
            state[name] = fresh[name]
    try:
        net.load_state_dict({k: v for k, v in state.items() if not k.startswith("aux_classifier.")})
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint} does not fit the preset: {error}") from error


@torch.no_grad()
def average(mean: nn.Module, net: nn.Module, step: int) -> None:
    """Move `mean` towards `net`, quickly in the first steps."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for ours, theirs in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, 1 - decay)
        else:
            ours.copy_(theirs)


def save(state: object, path: Path) -> None:
    """Write a checkpoint, or leave the one before as it is."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def write_weights(net: nn.Module, path: Path) -> None:
    """Write the weights in half precision, and print what a preset says of them."""
    halves = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    save(halves, path)
    data = path.read_bytes()
    print(f"{path}: {len(data) / 1e6:.1f} MB. For the preset:")
    print(f"weights:\n  file: {path.name}\n  sha256: {hashlib.sha256(data).hexdigest()}")


def report(step: int, loss: float, scores: Scores) -> str:
    classes = ", ".join(f"{k} {v:.3f}" for k, v in scores.iou.items() if v is not None)
    return f"step {step}: loss {loss:.3f}, val mIoU {scores.mean_iou:.4f} ({classes})"


def train(options: argparse.Namespace) -> None:
    preset = load_preset(options.preset)
    if options.coarse and preset.output_stride > 8:
        raise PresetError(f"--coarse doubles the output stride, and {preset.name} has 16 already")
    last = options.output / "last.pth"
    if options.resume and not last.is_file():
        raise CheckpointError(f"{last} is missing: there is nothing to resume")
    if last.exists() and not options.resume:
        raise CheckpointError(f"{last} is another run's; --resume goes on with that one")
    frames, val_frames = (find_frames(options.data / split) for split in ("train", "val"))
    weights = class_weights(check_frames(frames, preset))
    check_frames(val_frames, preset)

    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    coarse_steps = round(options.coarse * options.steps)
    net = build(preset, coarse=coarse_steps > 0)
    if options.init:
        initialise(net, options.init)
    net.to(device).to(memory_format=torch.channels_last)
    mean = deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
    step = 0
    if options.resume:
        state = torch.load(last, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    options.output.mkdir(parents=True, exist_ok=True)

    crops = DataLoader(
        Crops(frames, preset, options.crop, options.seed),
        batch_size=options.batch,
        sampler=range(step * options.batch, options.steps * options.batch),
        num_workers=options.workers,
    )
    bar = tqdm(crops, "training", options.steps, initial=step, unit="step")
    shown: dict[str, str] = {}
    losses: list[float] = []  # of the steps since the last validation
    is_coarse = coarse_steps > 0
    weights = weights.to(device)
    for image, target in bar:
        if is_coarse and step >= coarse_steps:
            is_coarse = False
            for trained in (net, mean):
                take_strides(trained, build(preset, coarse=False))
        torch.manual_seed(options.seed + step)  # of dropout
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.lr)

        image = image.to(device, memory_format=torch.channels_last, non_blocking=True)
        target = target.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16):
            logits = net(image)
        loss = loss_of(logits, target, weights, step, fine=not is_coarse)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        average(mean, net, step)
        step += 1

        losses.append(loss.item())
        shown["loss"] = f"{np.mean(losses[-50:]):.3f}"
        if step % options.validate_every == 0 or step == options.steps:
            served = optimize_for_inference(mean, device)
            scores = score(in_process(served, preset), val_frames, preset)
            tqdm.write(report(step, float(np.mean(losses)), scores))
            shown["mIoU"] = f"{scores.mean_iou:.3f}"
            losses.clear()
        bar.set_postfix(shown)
        if step % options.save_every == 0 or step == options.steps:
            state = {"net": net, "model": mean, "optimizer": optimizer}
            save({k: v.state_dict() for k, v in state.items()} | {"step": step}, last)
    write_weights(mean, options.output / f"{preset.name}.pth")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", required=True, help="a preset's name or file")
    add("--data", type=Path, required=True, help="folder with train/ and val/")
    add("--output", type=Path, required=True, help="folder for the checkpoint and the weights")
    add("--init", help="start from a checkpoint, or from the weights of the preset of this name")
    add("--resume", action="store_true", help="go on from OUTPUT/last.pth")
    add("--steps", type=int, default=4000)
    add("--coarse", type=float, default=0.0, help="share of steps at twice the output stride")
    add("--batch", type=int, default=8, help="crops in a step; at least 2, for the batch norms")
    add("--crop", type=int, nargs=2, default=(256, 352), metavar=("H", "W"), help="px")
    add("--lr", type=float, default=1e-3, help="highest learning rate of AdamW")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes that cut crops")
    add("--save-every", type=int, default=100, help="steps between checkpoints")
    add("--validate-every", type=int, default=500, help="steps between validations")
    options = parser.parse_args(arguments)
    if options.batch < 2:
        parser.error(f"--batch is {options.batch}; batch norms need at least 2")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        train(parse_arguments(arguments))
    except (PresetError, CheckpointError, DataError) as error:
        say(f"train: {error}")
        return 1
    except KeyboardInterrupt:
        say("train: stopped; --resume goes on from the last checkpoint")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
