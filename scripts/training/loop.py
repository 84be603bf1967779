"""The training loop: crops in, steps of AdamW, averaged weights out.

Every sample and every dropout mask is a function of the seed and of its number in the run: a run
that was stopped goes on as if it had not been. Between two validations nothing waits for a GPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.preset import Preset, PresetError
from model.segmenter import Segmenter
from scripts.archive.checkpoint import CheckpointError
from scripts.training.augmentation import Cropper
from scripts.training.checkpoints import CHECKPOINT, append_history, save, write_weights
from scripts.training.dataset import (
    Frame,
    LabelledImage,
    count_pixels,
    read_frames,
    scaled_down,
)
from scripts.training.losses import class_weights, segmentation_loss
from scripts.training.metrics import Scores
from scripts.training.network import build, initialise, mixed_precision, take_strides
from scripts.training.sampling import Augmentation, Sample, Samples
from scripts.training.validation import validate, validation_frame

# The weights are averaged over about the last 500 steps. AveragedModel waits for the GPU at each
# update (it sends its counter there), so it is updated at every eighth step, as torchvision's
# references do at every 32nd.
AVERAGE_EVERY: Final = 8
EMA_DECAY: Final = 0.998**AVERAGE_EVERY

WARM_UP: Final = 0.05  # share of the run in which the learning rate rises
AUX_WEIGHT: Final = 0.4  # of the auxiliary head's loss, as in PSPNet and torchvision's references
SHOW_EVERY: Final = 50  # steps between losses on the terminal


@dataclass(frozen=True)
class Settings:
    """What one run does; whichever of `steps` and `seconds` is given ends it."""

    augmentation: Augmentation
    crop: tuple[int, int] = (256, 352)  # px
    batch: int = 8
    steps: int | None = 4000
    seconds: float | None = None
    coarse: float = 0.0  # share of the run at twice the output stride
    peak_lr: float = 1e-3
    weight_decay: float = 0.02
    aux_head: bool = False
    init: str | None = None  # a checkpoint's path or a preset's name
    seed: int = 0
    workers: int = 1  # processes that draw samples
    save_every: int = 100  # steps
    validate_every: int = 500  # steps


@dataclass
class Clock:
    """How far a run is: 0 at its start, 1 at its end."""

    steps: int | None
    seconds: float | None
    before: float = 0.0  # s of training before the run was resumed
    start: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return self.before + time.monotonic() - self.start

    def progress(self, step: int) -> float:
        of_time = 0.0 if self.seconds is None else self.elapsed / self.seconds
        of_steps = 0.0 if self.steps is None else step / self.steps
        return min(1.0, max(of_time, of_steps))


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then half a cosine to zero, by the share of the run that is over.

    torch's schedulers count steps, and a run that has some seconds does not know how many it has.
    """
    if progress < WARM_UP:
        return peak * progress / WARM_UP
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def running_average(net: Segmenter) -> AveragedModel:
    """A copy of the network that follows it, quickly in the first updates."""

    def follow(mean: list[Tensor], current: list[Tensor], num_updates: Tensor) -> None:
        n = int(num_updates)
        decay = min(EMA_DECAY, (1 + n) / (10 + n))
        get_ema_multi_avg_fn(decay)(mean, current, num_updates)

    return AveragedModel(net, multi_avg_fn=follow, use_buffers=True)


class Training:
    """A network with all that changes while it is trained."""

    def __init__(
        self, preset: Preset, settings: Settings, weights: Tensor, device: torch.device
    ) -> None:
        torch.manual_seed(settings.seed)
        self.preset = preset
        self.settings = settings
        self.weights = weights.to(device)  # (C,) of the classes in the coarse part's loss
        self.is_coarse = settings.coarse > 0
        self.net = build(preset, coarse=self.is_coarse, aux_head=settings.aux_head)
        if settings.init:
            initialise(self.net, settings.init)
        self.net.to(device).to(memory_format=torch.channels_last)
        self.average = running_average(self.net)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.step = 0

    def train_step(self, image: Tensor, target: Tensor, progress: float) -> Tensor:
        """One step on crops (B, 3, h, w) and targets (B, h, w); returns the loss, on the device."""
        settings = self.settings
        if self.is_coarse and progress >= settings.coarse:
            self.refine()
        torch.manual_seed(settings.seed + self.step)  # of dropout
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress, settings.peak_lr)
        loss = self.loss(image, target)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.step == 1 or self.step % AVERAGE_EVERY == 0:
            self.average.update_parameters(self.net)
        return loss.detach()

    def loss(self, image: Tensor, target: Tensor) -> Tensor:
        aux = None
        with mixed_precision(image.device):
            if self.settings.aux_head:
                logits, aux = self.net.forward_with_aux(image)
            else:
                logits = self.net(image)
        fine = not self.is_coarse
        loss = segmentation_loss(logits, target, self.weights, step=self.step, fine=fine)
        if aux is not None:
            early = segmentation_loss(aux, target, self.weights, step=self.step, fine=False)
            loss = loss + AUX_WEIGHT * early
        return loss

    def refine(self) -> None:
        """Go on at the preset's own output stride."""
        self.is_coarse = False
        like = build(self.preset, coarse=False, aux_head=self.settings.aux_head)
        for net in (self.net, self.average.module):
            take_strides(net, like)

    def state(self) -> dict[str, object]:
        parts = {"net": self.net, "model": self.average, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items()} | {
            "step": self.step,
            "is_coarse": self.is_coarse,
        }

    def restore(self, state: dict[str, object]) -> None:
        for part, name in (
            (self.net, "net"),
            (self.average, "model"),
            (self.optimizer, "optimizer"),
        ):
            part.load_state_dict(state[name])
        self.step = int(state["step"])
        if self.is_coarse and not state["is_coarse"]:
            self.refine()


def train(
    preset: Preset,
    frames: Sequence[Frame],
    val_frames: Sequence[Frame],
    output: Path,
    settings: Settings,
    *,
    resume: bool = False,
) -> Scores | None:
    """Train a preset's network, on a GPU if there is one; leaves checkpoint, history and weights.

    Returns the last scores on `val_frames`. Raises DataError for a frame that cannot be used,
    PresetError and CheckpointError where these do not fit.
    """
    if settings.coarse and preset.output_stride > 8:
        raise PresetError(f"--coarse doubles the output stride, and {preset.name} has 16 already")
    checkpoint = output / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint} is missing: there is nothing to resume")
    if checkpoint.exists() and not resume:
        raise CheckpointError(f"{checkpoint} is another run's; --resume goes on with that one")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    began = time.monotonic()

    # No crop shows more of a photo than its largest scale does.
    largest = round(preset.short_side * settings.augmentation.scale[1])
    images = [scaled_down(frame, largest) for frame in read_frames(frames, preset.num_classes)]
    validation = [
        validation_frame(frame, preset, device)
        for frame in read_frames(val_frames, preset.num_classes)
    ]
    targets = [frame.target.numpy() for frame in images]
    weights = class_weights(describe(frames, images, preset))
    training = Training(preset, settings, weights, device)
    before = 0.0
    if resume:
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        training.restore(state)
        before = state["seconds"]
    output.mkdir(parents=True, exist_ok=True)

    rare = [index for index, weight in enumerate(weights.tolist()) if weight > 1]
    on_device = [LabelledImage(f.image.to(device), f.target.to(device)) for f in images]
    cropper = Cropper(on_device, preset, settings.crop, rare)
    samples = Samples(
        targets, settings.augmentation, settings.crop, preset.short_side, settings.seed
    )
    batches = sample_batches(samples, settings, training.step)
    seconds = settings.seconds
    if seconds is not None:
        seconds -= time.monotonic() - began
    clock = Clock(settings.steps, seconds, before)
    progress = clock.progress(training.step)
    scores = None
    total = torch.zeros((), device=device)  # of the losses since the last validation
    summed = 0
    with tqdm(desc="training", total=settings.steps, initial=training.step, unit="step") as bar:
        while progress < 1:
            total += training.train_step(*cropper(next(batches)), progress)
            summed += 1
            bar.update()
            step, progress = training.step, clock.progress(training.step)
            is_last = progress >= 1
            if step % SHOW_EVERY == 0:
                bar.set_postfix(loss=f"{total.item() / summed:.3f}")
            if step % settings.validate_every == 0 or is_last:
                scores = validate(training.average.module, validation, preset)
                loss = total.item() / summed
                bar.write(report(step, loss, scores))
                append_history(output, step=step, seconds=clock.elapsed, loss=loss, scores=scores)
                total.zero_()
                summed = 0
            if step % settings.save_every == 0 or is_last:
                save(training.state() | {"seconds": clock.elapsed}, checkpoint)
    write_weights(training.average.module, output / f"{preset.name}.pth")
    return scores


def describe(frames: Sequence[Frame], images: Sequence[LabelledImage], preset: Preset) -> Tensor:
    """Print how much there is to learn from; returns the pixels of each class, (C,)."""
    counts = count_pixels([image.target for image in images], preset.num_classes)
    share = (counts[-1] / counts.sum()).item()
    print(
        f"{frames[0].image.parent.parent}: {len(frames)} frames, {share:.1%} of the pixels are void"
    )
    return counts[:-1]


def sample_batches(samples: Samples, settings: Settings, step: int) -> Iterator[list[Sample]]:
    """Batches of samples from that of `step` on, without an end."""
    loader: DataLoader[Sample] = DataLoader(
        samples,
        batch_size=settings.batch,
        sampler=count(step * settings.batch),  # type: ignore[arg-type]
        num_workers=settings.workers,
        collate_fn=list,
    )
    return iter(loader)


def report(step: int, loss: float, scores: Scores) -> str:
    classes = ", ".join(f"{k} {v:.3f}" for k, v in scores.iou.items() if v is not None)
    return f"step {step}: loss {loss:.3f}, val mIoU {scores.mean_iou:.4f} ({classes})"
