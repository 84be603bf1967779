"""The image level's own way against the branch it stands for."""

from __future__ import annotations

import pytest
import torch

from model.deeplab_head import ASPP, ASPPPooling, DeepLabHead
from model.optimize.fold import fold_batch_norms
from model.optimize.image_level import ImageLevel, map_average, replace_image_level
from tests.conftest import randomize


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str
)
def test_it_is_the_branch(batch: int, dtype: torch.dtype, tolerance: float) -> None:
    branch = randomize(ASPPPooling(48, 16))
    fold_batch_norms(branch)
    x = torch.randn(batch, 48, 9, 13).relu().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = branch(x.to(dtype).float())
        level = ImageLevel(branch.to(dtype))(x.to(dtype))
    assert level.dtype == dtype
    torch.testing.assert_close(level.float(), expected, rtol=tolerance, atol=tolerance)


def test_an_average_over_many_cells_is_not_summed_in_bf16() -> None:
    """256 and more ones in bf16 would stay 256: the next number is 258."""
    assert map_average(torch.ones(1, 2, 65, 65).bfloat16()).flatten().tolist() == [1, 1]


def test_the_pyramid_stays_channels_last() -> None:
    """Else its concatenation, and the copy that the projection makes of it, cross all of memory."""
    head = DeepLabHead(32, 5)
    fold_batch_norms(head.eval())
    replace_image_level(head)
    pyramid = head[0]
    assert isinstance(pyramid, ASPP)
    seen = []
    pyramid.project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        head(torch.randn(2, 32, 7, 9).to(memory_format=torch.channels_last))
    (concatenation,) = seen
    assert concatenation.is_contiguous(memory_format=torch.channels_last)
