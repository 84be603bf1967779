"""Out-of-memory errors of a forward, recognised by type and text.

PyTorch has an exception for them, but only its own allocator raises it. The libraries that allocate
memory on a GPU themselves end in a RuntimeError, each with its own text.
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
    # A convolution: PyTorch tries cuDNN's engines in turn, skips those whose workspace does not
    # fit, and raises this when none is left (try_configs in Conv_v8.cpp). A convolution that cuDNN
    # cannot run at all raises it, too, but then in the first forward.
    "unable to find an engine to execute this computation",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in OUT_OF_MEMORY_TEXTS
    )
