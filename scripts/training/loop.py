"""One run: frames are read, crops trained on, the average of the weights validated and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from model.preset import Preset, PresetError
from scripts.archive.checkpoint import CheckpointError
from scripts.training.checkpoints import CHECKPOINT, preset_lines, save, write_weights
from scripts.training.cropping import Cropper
from scripts.training.dataset import (
    Frame,
    LabelledImage,
    count_pixels,
    read_frames,
    scaled_down,
)
from scripts.training.first_look import FIRST_LOOK, write_first_look
from scripts.training.history import Validation, best_mean_iou, drop_rows_after, read_rows
from scripts.training.interruption import Interrupted, pending_signal
from scripts.training.losses import class_weights
from scripts.training.progress import Progress
from scripts.training.records import Records, best_weights
from scripts.training.sampling import Sample, Samples
from scripts.training.trainer import Settings, Trainer
from scripts.training.validation import ValidationFrame, validate, validation_frame


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

    Beside the last step's weights are those of the best validation, a checkpoint for `resume`, the
    history of validations as a table and as curves, and a first look at the crops. Raises DataError
    for a frame that cannot be used, PresetError and CheckpointError for settings that do not fit,
    and Interrupted after Ctrl-C or SIGTERM.
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
    drop_rows_after(output, trainer.step)

    rare = (weights > 1).nonzero().flatten().tolist()
    crops = draw_crops(images, preset, settings, rare, device, first_step=trainer.step)
    with pending_signal() as received:
        run_steps(trainer, crops, validation, output, received)
    last, best = output / f"{preset.name}.pth", best_weights(preset, output)
    write_weights(trainer.average.module, last)
    print(f"{last} for the preset:\n{preset_lines(last)}")
    print(f"{best}: the weights of the best validation, {best_mean_iou(read_rows(output)):.4f}")


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
    received: Callable[[], int | None],
) -> None:
    """Train on all crops; validate and save at the intervals of the settings and at the end.

    Once `received` gives a signal's number, save after the step and raise Interrupted.
    """
    settings = trainer.settings
    total, num_summed = torch.zeros((), device=trainer.class_weights.device), 0
    with (
        closing(Progress(trainer.step, settings.steps)) as progress,
        closing(Records(output, trainer.preset, trainer.step)) as records,
    ):
        for image, target in crops:
            if trainer.step == 0:
                write_first_look(image, target, trainer.preset, output / FIRST_LOOK)
            learning_rate = trainer.learning_rate
            total += trainer.train_step(image, target)
            num_summed += 1
            step, is_last = trainer.step, trainer.step == settings.steps
            progress.advance()
            if progress.is_due(step):
                progress.show(step, total.item() / num_summed)
            if step % settings.validate_every == 0 or is_last:
                scores = validate(trainer.average.module, validation, trainer.preset)
                loss = total.item() / num_summed
                records.add(Validation(step, loss, learning_rate, scores), trainer.average.module)
                total.zero_()
                num_summed = 0
            number = received()
            if step % settings.save_every == 0 or is_last or number:
                save(trainer.state(), output / CHECKPOINT)
            if number and not is_last:
                raise Interrupted(step, number)
