"""One run: frames are read, crops trained on, the average of the weights validated and saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.preset import Preset, PresetError
from scripts.archive.checkpoint import CheckpointError
from scripts.training.checkpoints import CHECKPOINT, append_history, save, write_weights
from scripts.training.cropping import Cropper
from scripts.training.dataset import (
    Frame,
    LabelledImage,
    count_pixels,
    read_frames,
    scaled_down,
)
from scripts.training.losses import class_weights
from scripts.training.report import validation_line
from scripts.training.sampling import Sample, Samples
from scripts.training.trainer import Settings, Trainer
from scripts.training.validation import ValidationFrame, validate, validation_frame

SHOW_EVERY: Final = 50  # steps between updates of the loss on the terminal; each waits for the GPU


def train(
    preset: Preset,
    frames: Sequence[Frame],
    val_frames: Sequence[Frame],
    output: Path,
    settings: Settings,
    *,
    resume: bool = False,
) -> None:
    """Train a preset's network, on a GPU if there is one; write its weights into `output`.

    Beside them are a checkpoint for `resume` and the history of validations. Raises DataError for a
    frame that cannot be used, PresetError and CheckpointError for settings that do not fit.
    """
    if settings.coarse and preset.output_stride > 8:
        raise PresetError(f"--coarse doubles the output stride, and {preset.name} has 16 already")
    checkpoint = output / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint} is missing: there is nothing to resume")
    if checkpoint.exists() and not resume:
        raise CheckpointError(f"{checkpoint} is another run's; --resume continues that run")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True  # worth its time: all crops are of one size

    # Crops never show more of a photo than at their largest scale.
    largest = round(preset.short_side * settings.augmentation.scale[1])
    images = [scaled_down(frame, largest) for frame in read_frames(frames, preset.num_classes)]
    validation = [
        validation_frame(frame, preset, device)
        for frame in read_frames(val_frames, preset.num_classes)
    ]
    pixels = count_pixels([image.target for image in images], preset.num_classes)
    void = (pixels[-1] / pixels.sum()).item()
    print(f"training: {len(images)} frames, {void:.1%} void; validation: {len(validation)} frames")
    weights = class_weights(pixels[:-1])
    trainer = Trainer(preset, settings, weights, device)
    if resume:
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        try:
            trainer.restore(state)
        except (KeyError, ValueError, RuntimeError) as error:  # of load_state_dict
            raise CheckpointError(
                f"{checkpoint} is of a run with other settings or of an older version"
            ) from error
    output.mkdir(parents=True, exist_ok=True)

    rare = (weights > 1).nonzero().flatten().tolist()
    crops = draw_crops(images, preset, settings, rare, device, first_step=trainer.step)
    run_steps(trainer, crops, validation, output)
    write_weights(trainer.average.module, output / f"{preset.name}.pth")


def draw_crops(
    images: Sequence[LabelledImage],
    preset: Preset,
    settings: Settings,
    rare: Sequence[int],
    device: torch.device,
    *,
    first_step: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Crops (B, 3, h, w) and targets (B, h, w) of each step of the run from `first_step` on."""
    samples = Samples(
        [image.target.numpy() for image in images],
        settings.augmentation,
        settings.crop,
        preset.short_side,
        settings.seed,
    )
    batches: DataLoader[Sample] = DataLoader(
        samples,
        batch_size=settings.batch,
        sampler=range(first_step * settings.batch, settings.steps * settings.batch),
        num_workers=settings.workers,
        collate_fn=list,
    )
    on_device = [LabelledImage(i.image.to(device), i.target.to(device)) for i in images]
    return map(Cropper(on_device, preset, settings.crop, rare), batches)


def run_steps(
    trainer: Trainer,
    crops: Iterator[tuple[Tensor, Tensor]],
    validation: Sequence[ValidationFrame],
    output: Path,
) -> None:
    """Train on all crops; validate and save at the intervals of the settings and at the end."""
    settings = trainer.settings
    total, num_summed = torch.zeros((), device=trainer.class_weights.device), 0
    bar = tqdm(crops, "training", settings.steps, initial=trainer.step, unit="step")
    for image, target in bar:
        total += trainer.train_step(image, target)
        num_summed += 1
        step, is_last = trainer.step, trainer.step == settings.steps
        if step % SHOW_EVERY == 0:
            bar.set_postfix(loss=f"{total.item() / num_summed:.3f}")
        if step % settings.validate_every == 0 or is_last:
            scores = validate(trainer.average.module, validation, trainer.preset)
            loss = total.item() / num_summed  # mean since the last validation
            bar.write(validation_line(step, loss, scores))
            append_history(output, step=step, loss=loss, scores=scores)
            total.zero_()
            num_summed = 0
        if step % settings.save_every == 0 or is_last:
            save(trainer.state(), output / CHECKPOINT)
