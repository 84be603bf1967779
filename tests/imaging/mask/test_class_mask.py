"""class_mask against its definition: upsample the logits, take the largest."""

from __future__ import annotations

import tracemalloc
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imaging.mask.bilinear import HUGE
from imaging.mask.class_mask import (
    class_mask,
    class_mask_and_confidence,
    class_mask_and_confidence_plain,
    class_mask_plain,
    mask_in_chunks,
)

FLOAT32_EPS = torch.finfo(torch.float32).eps

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def trained_like(
    batch: int = 1, num_classes: int = 21, height: int = 65, width: int = 87, seed: int = 0
) -> Tensor:
    """Logits (B, C, h, w) in blobs some ten nodes wide, a little rough: 37 % mixed cells."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_classes, height, width)
    blobs = torch.randn(*shape[:2], height // 10 + 3, width // 10 + 3, generator=generator)
    smooth = F.interpolate(blobs, shape[2:], mode="bicubic", align_corners=True)
    return 6 * smooth + 0.3 * torch.randn(shape, generator=generator)


def assert_winners(mask: Tensor, logits: Tensor, size: tuple[int, int]) -> None:
    """The class at every pixel has the largest upsampled logit, within the rounding of logits."""
    upsampled = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    assert mask.shape == (len(logits), *size)
    chosen = upsampled.gather(1, mask.long()[:, None])[:, 0]
    margin = upsampled.amax(1) - chosen
    rounding = 8 * FLOAT32_EPS * logits.float().abs().max()
    assert margin.max() <= rounding, f"{int((margin > rounding).sum())} wrong, by {margin.max()}"


def assert_within_one(confidence: Tensor, expected: Tensor) -> None:
    difference = (confidence.int() - expected.int()).abs()
    assert difference.max() <= 1, f"{int((difference > 1).sum())} pixels, by {difference.max()}"


@st.composite
def grids(draw: st.DrawFn) -> Tensor:
    shape = [draw(st.integers(1, high)) for high in (2, 9, 12, 12)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    logits = torch.randn(shape, generator=generator) * draw(st.sampled_from([1e-3, 1.0, 20.0, 1e4]))
    logits += draw(st.sampled_from([0.0, -5.0, 1e3]))
    if draw(st.booleans()):
        logits = logits.round()  # many exact ties
    if draw(st.booleans()):
        logits = logits.to(memory_format=torch.channels_last)
    return logits.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float64])))


sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


def test_labels_that_can_be_checked_by_hand() -> None:
    # Two nodes and ten pixels, which lie at 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1 between them.
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]]).reshape(1, 3, 1, 2)

    assert class_mask(logits[:, :2], (1, 10)).tolist() == [[[0, 0, 0, 0, 0, 1, 1, 1, 1, 1]]]
    assert class_mask(logits, (1, 10)).tolist() == [[[0, 0, 0, 0, 2, 2, 1, 1, 1, 1]]]
    assert class_mask(logits.mT, (10, 1)).flatten().tolist() == [0, 0, 0, 0, 2, 2, 1, 1, 1, 1]


def test_a_class_may_win_inside_a_cell_and_at_none_of_its_corners() -> None:
    corners = torch.eye(4).reshape(1, 4, 2, 2)
    logits = torch.cat([corners, torch.full((1, 1, 2, 2), 0.4)], 1)

    mask = class_mask(logits, (20, 20))

    assert mask[0, 10, 10] == 4
    assert torch.equal(mask, class_mask_plain(logits, (20, 20)))


@settings(max_examples=200, deadline=None)
@given(grids(), sizes)
def test_any_grid_to_any_size(logits: Tensor, size: tuple[int, int]) -> None:
    mask = class_mask(logits, size)

    assert mask.dtype == torch.uint8
    assert_winners(mask, logits, size)


@settings(max_examples=100, deadline=None)
@given(grids(), sizes)
def test_confidence_of_any_grid_at_any_size(logits: Tensor, size: tuple[int, int]) -> None:
    mask, confidence = class_mask_and_confidence(logits, size)

    assert torch.equal(mask, class_mask(logits, size))
    assert confidence.dtype == torch.uint8
    assert_within_one(confidence, class_mask_and_confidence_plain(logits, size)[1])


@settings(max_examples=50, deadline=None)
@given(grids(), sizes)
def test_chunks_on_devices_without_an_algorithm_of_their_own(
    logits: Tensor, size: tuple[int, int]
) -> None:
    mask, confidence = mask_in_chunks(logits, size, with_confidence=True)

    assert_winners(mask, logits, size)
    assert_within_one(confidence, class_mask_and_confidence_plain(logits, size)[1])


@pytest.mark.parametrize("size", [(491, 640), (750, 1000), (65, 87), (40, 50)])
def test_trained_like_logits(size: tuple[int, int]) -> None:
    logits = trained_like(batch=2)

    mask, confidence = class_mask_and_confidence(logits, size)

    expected_mask, expected_confidence = class_mask_and_confidence_plain(logits, size)
    assert (mask != expected_mask).sum() <= 2  # near ties
    assert_winners(mask, logits, size)
    assert_within_one(confidence, expected_confidence)


def test_memory_formats_and_strides_do_not_matter() -> None:
    logits = trained_like(batch=2)
    wide = torch.zeros(2, 21, 65, 200)
    wide[..., 3:177:2] = logits

    expected = class_mask(logits, (300, 400))

    assert torch.equal(
        class_mask(logits.to(memory_format=torch.channels_last), (300, 400)), expected
    )
    assert torch.equal(class_mask(wide[..., 3:177:2], (300, 400)), expected)
    assert torch.equal(class_mask(logits.requires_grad_(), (300, 400)), expected)


@pytest.mark.parametrize(("num_classes", "dtype"), [(256, torch.uint8), (257, torch.int32)])
def test_beyond_256_classes_labels_need_more_than_a_byte(
    num_classes: int, dtype: torch.dtype
) -> None:
    logits = trained_like(num_classes=num_classes, height=12, width=10)
    logits[:, -1, :, 5:] += 100

    mask, confidence = class_mask_and_confidence(logits, (50, 60))

    assert mask.dtype == dtype
    assert mask.max() == num_classes - 1
    assert torch.equal(mask, class_mask_plain(logits, (50, 60)))
    assert_within_one(confidence, class_mask_and_confidence_plain(logits, (50, 60))[1])


def test_no_images() -> None:
    mask, confidence = class_mask_and_confidence(torch.zeros(0, 3, 4, 5), (6, 7))

    assert mask.shape == confidence.shape == (0, 6, 7)


def test_one_class_is_certain() -> None:
    mask, confidence = class_mask_and_confidence(torch.randn(1, 1, 4, 5), (6, 7))

    assert mask.unique().tolist() == [0]
    assert confidence.unique().tolist() == [255]


def test_a_class_ruled_out_by_minus_infinity_leaves_the_others_alone() -> None:
    logits = trained_like(num_classes=5, height=20, width=30)
    ruled_out = logits.clone()
    ruled_out[:, 2] = -torch.inf
    others = [0, 1, 3, 4]

    mask, confidence = class_mask_and_confidence(ruled_out, (200, 300))

    expected_mask, expected_confidence = class_mask_and_confidence(logits[:, others], (200, 300))
    assert torch.equal(mask.long(), torch.tensor(others)[expected_mask.long()])
    assert torch.equal(confidence, expected_confidence)


@pytest.mark.parametrize(
    ("value", "rows"),
    [(torch.nan, 6), (-torch.inf, 6), (-1e9, 6), (torch.inf, 2)],  # of 2 rows no two classes tie
)
@pytest.mark.parametrize("size", [(200, 300), (60, 90), (33, 47), (7, 11)])
def test_confidence_where_a_class_is_excluded_in_a_part_of_the_map(
    value: float, rows: int, size: tuple[int, int]
) -> None:
    """At three times the grid's size every third pixel is on a node, where other nodes weigh 0."""
    logits = trained_like(num_classes=5, height=20, width=30)
    for class_id in range(5):
        top, left = 4 * class_id, 4 * class_id
        logits[:, class_id, top : top + rows, left : left + 9] = value
    finite = logits.nan_to_num(nan=-HUGE, posinf=HUGE, neginf=-HUGE)

    confidence = class_mask_and_confidence(logits, size)[1]

    assert_within_one(confidence, class_mask_and_confidence_plain(finite, size)[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_spoil_only_their_own_cells(value: float) -> None:
    logits = trained_like(num_classes=5, height=20, width=30)
    spoilt = logits.clone()
    spoilt[:, :, 10:12, 10:12] = value

    mask, confidence = class_mask_and_confidence(spoilt, (200, 300))

    expected_mask, expected_confidence = class_mask_and_confidence(logits, (200, 300))
    touched = torch.zeros(200, 300, dtype=torch.bool)
    touched[90:130, 90:130] = True
    assert torch.equal(mask[0][~touched], expected_mask[0][~touched])
    assert torch.equal(confidence[0][~touched], expected_confidence[0][~touched])


def test_logits_equal_up_to_their_last_bits() -> None:
    # Rounding alone decides here, and may contradict itself; there must be a response all the same.
    logits = 1e6 + 0.1 * torch.randn(1, 21, 9, 9, generator=torch.Generator().manual_seed(0))

    assert_winners(class_mask(logits, (300, 300)), logits, (300, 300))


@pytest.mark.parametrize(
    ("logits", "limit"),
    [
        (trained_like(), 16e6),
        (torch.randn(1, 21, 65, 87, generator=torch.Generator().manual_seed(0)), 80e6),
    ],
    ids=["trained-like", "noise"],
)
def test_memory_at_12_megapixels(logits: Tensor, limit: float) -> None:
    """NumPy's arrays, which is all of it but the 12 MB mask; the upsampled logits would be 1 GB."""
    tracemalloc.start()
    try:
        class_mask(logits, (3000, 4000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < limit


def test_memory_of_the_confidence_where_a_cell_is_large() -> None:
    logits = torch.randn(1, 21, 2, 2, generator=torch.Generator().manual_seed(0))
    tracemalloc.start()
    try:
        class_mask_and_confidence(logits, (1000, 1500))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 24e6  # the upsampled logits would be 126 MB


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_on_devices_what_is_not_finite_stands_for_huge_logits(value: float, device: str) -> None:
    logits = trained_like(num_classes=5, height=20, width=30)
    logits[:, 2, 5:9] = value
    finite = logits.nan_to_num(nan=-HUGE, posinf=HUGE, neginf=-HUGE)
    in_chunks = partial(mask_in_chunks, with_confidence=True)
    function = in_chunks if device == "cpu" else class_mask_and_confidence

    mask, confidence = function(logits.to(device), (200, 300))

    expected, expected_confidence = class_mask_and_confidence_plain(finite, (200, 300))
    assert (mask.cpu() != expected).sum() <= 2  # near ties
    assert_within_one(confidence.cpu(), expected_confidence)


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(900, 1201), (491, 640), (40, 50)])
def test_on_a_gpu_labels_are_the_same(
    dtype: torch.dtype, memory_format: torch.memory_format, size: tuple[int, int]
) -> None:
    logits = trained_like(batch=2).to("cuda", dtype).to(memory_format=memory_format)

    mask, confidence = class_mask_and_confidence(logits, size)

    assert mask.is_cuda
    assert confidence.is_cuda
    assert torch.equal(mask, class_mask(logits, size))
    assert_winners(mask.cpu(), logits.cpu(), size)
    assert_within_one(confidence.cpu(), class_mask_and_confidence_plain(logits.cpu(), size)[1])
