"""Where the network runs: the worker's GPU or its share of the cores, and a GPU that is lost."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# The worker's exit status when its GPU is lost. Any status but 0 does; this one is sysexits.h's
# EX_UNAVAILABLE, so that it can be told from a crash in the logs.
EXIT_DEVICE_LOST = 69

# What a container may use of its machine's cores: "200000 100000" is two, "max 100000" all
# (cgroup v2, https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files).
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def pick_device(gpu_id: int | str | None) -> torch.device:
    """The GPU that the engine assigned to this worker, or the CPU where torch sees none.

    An engine may assign ids where torch cannot use a GPU: TorchServe asks `nvidia-smi`. Where
    CUDA_VISIBLE_DEVICES is set it counts those, as torch does.
    """
    if gpu_id is None or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device(f"cuda:{gpu_id}")
    torch.cuda.set_device(device)
    return device


def upload(images: Sequence[Tensor], device: torch.device) -> Tensor:
    """uint8 images (3, h, w) of one shape as a batch (B, 3, h, w) on the device.

    For a GPU it is assembled in pinned memory, from which the copy is asynchronous.
    """
    batch = torch.empty(
        (len(images), *images[0].shape), dtype=torch.uint8, pin_memory=device.type == "cuda"
    )
    return torch.stack(list(images), out=batch).to(device, non_blocking=True)


def download(values: Tensor) -> npt.NDArray[np.integer]:
    """An integer tensor on any device as an array.

    From a GPU through pinned memory: pageable memory takes 2 to 4 ms for a mask of 12 megapixels.
    """
    if values.device.type == "cpu":
        return values.numpy()
    pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    pinned.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return pinned.numpy()


def largest_group(device: torch.device, batch_size: int) -> int:
    """How many images go through the network at once, of batches of that size.

    A CPU gains nothing from more (ResNet-50, 520x678, bf16, 2 cores: 0.95 s an image alone, 1.00 s
    in fours and 1.02 s in eights) and needs the memory: a worker peaks at 1.3 GB with four, at
    1.9 GB with eight. A GPU takes the whole batch.
    """
    return min(4, batch_size) if device.type == "cpu" else batch_size


def share_cores(workers: int) -> int:
    """Give this process its share of the cores, so that workers do not compete for them.

    Engines may set no thread count: then each of N workers would start a thread on every core.
    Where OMP_NUM_THREADS is set, PyTorch has read it, and it stays. Returns the number of threads.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // max(1, workers)))
    return torch.get_num_threads()


def usable_cores(limit: Path = CPU_LIMIT) -> int:
    """Cores that this process may use, a part of one counted as a whole: so many threads help."""
    return math.ceil(core_share(limit))


def core_share(limit: Path = CPU_LIMIT) -> float:
    """Cores that this process may use: its CPU affinity, within its container's limit."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = map(int, limit.read_text().split())  # microseconds of CPU time per period
    except (OSError, ValueError):  # no such limit, or "max": none is set
        return bound or 1
    return min(bound or 1, quota / period)


def release_cached_memory() -> None:
    """Return the GPU memory that PyTorch caches to the driver, where it can be.

    After a capture that an operator broke off, PyTorch considers it still underway and refuses.
    """
    with contextlib.suppress(RuntimeError):
        torch.cuda.empty_cache()


def exit_if_lost(device: torch.device) -> None:
    """End this process where its CUDA context is corrupted, so that the engine replaces it.

    After a sticky error (a device-side assert, an illegal address) every later call in the process
    fails as well, and an engine would go on sending requests to it (pytorch/serve#3114).
    """
    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        logger.exception("the CUDA context of %s is lost; this worker exits", device)
        # Not sys.exit: SystemExit runs destructors, which hang on a lost context.
        logging.shutdown()
        os._exit(EXIT_DEVICE_LOST)
