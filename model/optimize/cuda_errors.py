"""What a failed forward says when there was no memory for it.

PyTorch has one exception for it, which its own allocator raises. All else that needs memory on a
GPU says so in the text of a RuntimeError, each library in its own words.
"""

from __future__ import annotations

import torch

OUT_OF_MEMORY_TEXTS = (
    # The CPU's allocator: "DefaultCPUAllocator: can't allocate memory".
    "can't allocate memory",
    # The driver or the runtime, of page-locked memory, streams and graphs: "CUDA error: out of
    # memory", "CUDA driver error: out of memory". Triton: "Triton Error [CUDA]: out of memory".
    "error: out of memory",
    "Error [CUDA]: out of memory",
    "CUDA out of memory",
    # cuBLAS and cuDNN, of their handles and workspaces.
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    # A convolution: PyTorch tries cuDNN's engines in turn, takes a workspace that does not fit for
    # an engine that does not work, and ends so when it has tried all (try_configs in Conv_v8.cpp).
    # A convolution that cuDNN cannot do at all says the same; the first forward would have.
    "unable to find an engine to execute this computation",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that there was no memory, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in OUT_OF_MEMORY_TEXTS
    )
