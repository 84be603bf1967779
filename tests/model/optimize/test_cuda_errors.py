"""The error text of every library that can run out of memory."""

from __future__ import annotations

import pytest
import torch

from model.optimize.cuda_errors import is_out_of_memory


@pytest.mark.parametrize(
    "text",
    [
        # PyTorch 2.14: Conv_v8.cpp, CUDAException.cpp, CUDADriverException, CUDAContext's handles.
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA driver error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "Triton Error [CUDA]: out of memory",
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 1152921504606846976 bytes. Error code 12 (Cannot allocate memory)",
    ],
)
def test_texts_of_each_library(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


def test_the_error_of_the_cpus_allocator() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)


def test_errors_by_their_class() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        KeyError("out of memory"),
        ValueError("CUDA out of memory"),
    ],
)
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_shape_that_does_not_fit_is_a_mistake() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(error.value)
