"""What pytorch/serve's image_segmenter sends, at the photo's own size.

https://github.com/pytorch/serve/blob/master/ts/torch_handler/image_segmenter.py
"""

from __future__ import annotations

from imaging.export.json_arrays import class_probability_json
from serving.response.encoder_input import EncoderInput


def class_probabilities(content: EncoderInput) -> bytes:
    """[H][W][class, probability]."""
    return class_probability_json(content.mask, content.confidence)
