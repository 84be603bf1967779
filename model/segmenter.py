"""A dilated ResNet and a DeepLabV3 head on it, under torchvision's parameter names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.segmentation.fcn import FCNHead

from model.deeplab_head import ATROUS_RATES, DeepLabHead
from model.variant import STANDARD, Variant, deep_stem, dilate_as

# Every ResNet torchvision builds that the segmenter accepts: BasicBlock, Bottleneck, grouped, wide.
BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
)

# A ResNet's four stages leave maps at 1/4, 1/8, 1/16 and 1/32 of the image.
STAGE_STRIDES = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}


class Segmenter(nn.Module):
    """Images to per-class logits: (B, 3, H, W) -> (B, num_classes, h, w), before upsampling.

    h is ceil(H / output stride), w likewise. The input is RGB, normalised with the mean and
    standard deviation the weights were trained with. The parameters are named as in torchvision's
    `DeepLabV3`: `backbone.*`, `classifier.*` and, with an auxiliary head, `aux_classifier.*`.
    """

    def __init__(
        self, backbone: nn.Sequential, classifier: DeepLabHead, aux_classifier: FCNHead | None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.backbone(x))
        return logits

    def forward_with_aux(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both heads, for training: the auxiliary one reads the last stage but one."""
        if self.aux_classifier is None:
            raise RuntimeError("this segmenter has no auxiliary head: build it with aux_head=True")
        *early, last = self.backbone.children()
        for stage in early:
            x = stage(x)
        return self.classifier(last(x)), self.aux_classifier(x)


def build_segmenter(
    backbone: str = "resnet50",
    num_classes: int = 21,
    atrous_rates: Sequence[int] = ATROUS_RATES,
    aux_head: bool = False,
    *,
    features: str = "layer4",
    output_stride: int = 8,
    variant: Variant = STANDARD,
) -> Segmenter:
    """A randomly initialised segmenter, in training mode; nothing is downloaded.

    `backbone` is one of BACKBONES. `features` names the stage the head reads ("layer4" or
    "layer3"; later stages are not built) and `output_stride` how much smaller than the image its
    map is (8 or 16). `aux_head` adds torchvision's FCN head on the stage before, for checkpoints
    that hold one: they load strictly, and `forward` never runs it. `variant` is torchvision's
    network unless the weights are of another project's. ValueError names a bad value.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone is {backbone!r}; expected one of {', '.join(BACKBONES)}")
    if features not in ("layer3", "layer4"):
        raise ValueError(f"features is {features!r}; expected 'layer3' or 'layer4'")
    if output_stride not in (8, 16):
        raise ValueError(f"output_stride is {output_stride!r}; expected 8 or 16")
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes!r}; expected at least 2")

    resnet = get_model(backbone, weights=None)
    replace_stride_with_dilation(resnet, output_stride)
    stages = until_stage(resnet, features)
    if variant.deep_stem:
        stages = with_deep_stem(stages)
    dilate_as(variant.implementation, stages)
    channels = stage_channels(resnet, features)
    aux = None
    if aux_head:
        stage_before = f"layer{int(features[-1]) - 1}"
        aux = FCNHead(stage_channels(resnet, stage_before), num_classes)
    head = DeepLabHead(
        channels,
        num_classes,
        atrous_rates,
        channels=variant.head_channels,
        hidden_layer=variant.hidden_layer,
    )
    return Segmenter(stages, head, aux)


def replace_stride_with_dilation(resnet: ResNet, output_stride: int) -> None:
    """Replace strides that would take the map below 1/output_stride by dilation, in place.

    After a removed stride of 2, convolutions read every second cell: the same inputs as before. The
    convolution that carried the stride keeps the dilation of the previous stage, and all later
    ones use twice that. For Bottleneck blocks this is the rule of torchvision's
    `replace_stride_with_dilation`; BasicBlock (resnet18 and 34), which torchvision refuses to
    dilate, has two 3x3 convolutions, and only the first carries the stride.
    """
    dilation = 1
    for name, stride in STAGE_STRIDES.items():
        stage = getattr(resnet, name)
        strided_dilation = dilation
        if stride > output_stride:
            dilation *= 2
            remove_stride(stage[0])
        for index, block in enumerate(stage):
            first, *rest = (block.conv1, block.conv2) if is_basic(block) else (block.conv2,)
            set_dilation(first, strided_dilation if index == 0 else dilation)
            for conv in rest:
                set_dilation(conv, dilation)


def is_basic(block: nn.Module) -> bool:
    return isinstance(block, BasicBlock)


def remove_stride(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def set_dilation(conv: nn.Conv2d, dilation: int) -> None:
    """Dilate a 3x3 convolution, with the padding that keeps the map's size."""
    conv.dilation = conv.padding = (dilation, dilation)


def until_stage(resnet: ResNet, last: str) -> nn.Sequential:
    """The ResNet's children up to and including stage `last`, under their own names."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for name, child in resnet.named_children():
        stages[name] = child
        if name == last:
            break
    return nn.Sequential(stages)


def with_deep_stem(stages: nn.Sequential) -> nn.Sequential:
    """The same stages after a deep stem instead of their 7x7 convolution, its norm and ReLU."""
    later = [child for child in stages.named_children() if child[0] not in ("conv1", "bn1", "relu")]
    return nn.Sequential(OrderedDict([("stem", deep_stem()), *later]))


def stage_channels(resnet: ResNet, stage: str) -> int:
    """Channels that a stage puts out: those of its last block's last normalisation."""
    block = getattr(resnet, stage)[-1]
    last_norm = block.bn2 if is_basic(block) else block.bn3
    return int(last_norm.num_features)
