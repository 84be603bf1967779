"""A network in training: steps of AdamW, and a running average of the weights.

Every dropout mask is a function of the seed and of the step's number, and so is every sample
(`sampling`): a resumed run goes on as if it had not been stopped. No step waits for a GPU but those
that update the average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.preset import Preset
from model.segmenter import Segmenter
from scripts.training.augmentation import Augmentation
from scripts.training.losses import segmentation_loss
from scripts.training.network import build, copy_strides, initialise, mixed_precision
from scripts.training.schedule import learning_rate_factor

# The weights are averaged over about the last 500 steps. AveragedModel waits for the GPU at each
# update (it sends its counter there), so it is updated at every eighth step only, as torchvision's
# references do at every 32nd.
AVERAGE_EVERY: Final = 8
EMA_DECAY: Final = 0.998**AVERAGE_EVERY

AUX_WEIGHT: Final = 0.4  # of the auxiliary head's loss, as in PSPNet

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class Settings:
    """What one run does."""

    steps: int
    batch: int  # crops in a step
    crop: tuple[int, int]  # (h, w), px
    augmentation: Augmentation
    coarse: float  # share of the steps at twice the preset's output stride
    peak_lr: float
    weight_decay: float
    aux_head: bool
    init: str | None  # a checkpoint's path or a preset's name; None: from scratch
    seed: int
    workers: int  # processes that draw samples
    save_every: int  # steps
    validate_every: int  # steps


class TrainerState(TypedDict):
    """A checkpoint's content. Programs that read weights find the average under `model`."""

    net: dict[str, object]
    model: dict[str, object]
    optimizer: dict[str, object]
    schedule: dict[str, object]
    step: int


class Trainer:
    """A network with everything that changes while it is trained.

    `class_weights` (C,) are those of the cross-entropy at the coarse stride.
    """

    def __init__(
        self, preset: Preset, settings: Settings, class_weights: Tensor, device: torch.device
    ) -> None:
        torch.manual_seed(settings.seed)
        self.preset = preset
        self.settings = settings
        self.class_weights = class_weights.to(device)
        self.step = 0  # steps done
        self.num_coarse_steps = round(settings.coarse * settings.steps)
        self.is_coarse = self.num_coarse_steps > 0
        self.net = build(preset, coarse=self.is_coarse, aux_head=settings.aux_head)
        if settings.init:
            initialise(self.net, settings.init, preset.variant)
        self.net.to(device).to(memory_format=torch.channels_last)
        self.average = running_average(self.net)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            lr=settings.peak_lr,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.schedule = LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, settings.steps)
        )

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def train_step(self, image: Tensor, target: Tensor) -> Tensor:
        """One step on normalised crops (B, 3, h, w) and targets (B, h, w), on the device.

        Returns the loss (), on the device.
        """
        if self.is_coarse and self.step >= self.num_coarse_steps:
            self.refine()
        torch.manual_seed(self.settings.seed + self.step)  # of dropout
        loss = self.loss(image, target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.step += 1
        if self.step == 1 or self.step % AVERAGE_EVERY == 0:
            self.average.update_parameters(self.net)
        return loss.detach()

    def loss(self, image: Tensor, target: Tensor) -> Tensor:
        """The main head's loss, and a share of the auxiliary head's if there is one."""
        aux = None
        with mixed_precision(image.device):
            if self.settings.aux_head:
                logits, aux = self.net.forward_with_aux(image)
            else:
                logits = self.net(image)
        weights, step = self.class_weights, self.step
        loss = segmentation_loss(logits, target, weights, step=step, fine=not self.is_coarse)
        if aux is not None:
            loss = loss + AUX_WEIGHT * segmentation_loss(
                aux, target, weights, step=step, fine=False
            )
        return loss

    def refine(self) -> None:
        """Switch to the preset's own output stride."""
        self.is_coarse = False
        fine = build(self.preset, coarse=False, aux_head=self.settings.aux_head)
        copy_strides(fine, self.net)
        copy_strides(fine, self.average.module)

    def state(self) -> TrainerState:
        return {
            "net": self.net.state_dict(),
            "model": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
        }

    def restore(self, state: TrainerState) -> None:
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]


def running_average(net: Segmenter) -> AveragedModel:
    """A copy of the network, to follow its weights and buffers: quickly in the first updates."""

    def follow(average: Tensors, current: Tensors, num_updates: Tensor | int) -> None:
        n = int(num_updates)
        decay = min(EMA_DECAY, (1 + n) / (10 + n))
        get_ema_multi_avg_fn(decay)(average, current, num_updates)

    return AveragedModel(net, multi_avg_fn=follow, use_buffers=True)
