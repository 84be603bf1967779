"""The network: a dilated torchvision ResNet under our own DeepLabV3 head."""

from model.calibration import calibrate
from model.deeplab_head import ASPP, ASPPConv, ASPPPooling, DeepLabHead
from model.optimize.inference import optimize_for_inference, optimize_for_pixels
from model.segmenter import build_segmenter

__all__ = [
    "ASPP",
    "ASPPConv",
    "ASPPPooling",
    "DeepLabHead",
    "build_segmenter",
    "calibrate",
    "optimize_for_inference",
    "optimize_for_pixels",
]
