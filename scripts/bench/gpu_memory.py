"""The memory that a worker takes of a GPU, computed from its network; for any number of workers.

    python -m scripts.bench.gpu_memory

prints the table of docs/operations.md. The network runs on PyTorch's meta device, which knows the
sizes of tensors and holds none, so no GPU is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model import ASPPConv, build_segmenter
from model.optimize.atrous import MIN_CHANNELS
from model.optimize.cuda_graphs import PART_SIZES
from model.optimize.fold import folded
from model.optimize.image_level import replace_image_level
from model.optimize.inference import InferenceSegmenter, PixelSegmenter
from model.segmenter import Segmenter
from scripts.bench.gpu import COMMON_SIZES, Size

MIB: Final = 1 << 20

# What a process takes besides PyTorch's allocator: the CUDA context, the libraries' kernels. Device
# memory in use less reserved memory, on an H100 with CUDA 13.0; the driver's own share is in it.
CONTEXT_BYTES: Final = 716 * MIB

META: Final = torch.device("meta")
WORKERS: Final = (1, 2, 4)


@dataclass(frozen=True)
class WorkerMemory:
    """Bytes that one worker takes of its GPU."""

    weights: int
    graph_tensors: int  # each graph's own input and logits
    graph_pool: int  # activations that the graphs share
    other_shapes: int  # activations of a forward without a graph, which stay cached
    context: int = CONTEXT_BYTES

    @property
    def after_warm_up(self) -> int:
        """What PyTorch's allocator has reserved when the common sizes are captured."""
        return self.weights + self.graph_tensors + self.graph_pool

    @property
    def total(self) -> int:
        return self.after_warm_up + self.other_shapes + self.context


def worker_memory(
    net: Segmenter, sizes: Sequence[Size] = COMMON_SIZES, dtype: torch.dtype = torch.bfloat16
) -> WorkerMemory:
    """The memory of a worker that serves `net` in `dtype`, with graphs of inputs of `sizes`.

    A forward of PART_SIZES[0] images takes the most. Graphs of the same size reuse its activations,
    upright or lying; a larger one's do not fit into the blocks of a smaller one, so the pool holds
    those of each distinct number of pixels. That is an upper bound: some blocks do fit. Measured
    with a ResNet-50 on an H100, the pool was 0.83 and all reserved memory 0.85 of it.
    """
    served = PixelSegmenter(as_on_cuda(net, dtype), (0.5,) * 3, (0.5,) * 3).eval()
    largest = {height * width: (height, width) for height, width in sizes}
    peaks = [peak_bytes(served, pixels(PART_SIZES[0], size)) for size in largest.values()]
    inputs = [pixels(batch, size) for size in sizes for batch in PART_SIZES]
    return WorkerMemory(
        weights=sum(parameter.nbytes for parameter in served.parameters()),
        graph_tensors=sum(x.nbytes + served(x).nbytes for x in inputs),
        graph_pool=sum(peaks),
        other_shapes=max(peaks),
    )


def as_on_cuda(net: Segmenter, dtype: torch.dtype) -> InferenceSegmenter:
    """`net` on the meta device, with the temporary tensors that it has on a GPU."""
    served = folded(net, META, dtype)
    replace_image_level(served.classifier)
    branches = served.classifier.get_submodule("0.convs")
    for name, branch in branches.named_children():
        conv = branch.get_submodule("0") if isinstance(branch, ASPPConv) else None
        if isinstance(conv, nn.Conv2d) and conv.in_channels >= MIN_CHANNELS:
            setattr(branches, name, TapProductSizes(conv))
    return InferenceSegmenter(served, META, dtype).eval()


class TapProductSizes(nn.Module):
    """The tensors of TapProductConv, without its kernel: (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        products = x.new_empty((len(x), 9 * self.conv.out_channels, *x.shape[-2:]))
        y: Tensor = self.conv(x)
        del products
        return y


def pixels(batch: int, size: Size) -> Tensor:
    return torch.empty(batch, 3, *size, dtype=torch.uint8, device=META)


class AllocatedBytes(TorchDispatchMode):
    """The largest number of bytes that tensors made in this context had at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()  # views and tensors changed in place share it
                self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return result


def peak_bytes(net: nn.Module, x: Tensor) -> int:
    """The bytes that net(x) has of tensors at its peak, x itself and the weights not counted."""
    allocated = AllocatedBytes()
    with allocated:
        net(x)
    return allocated.peak


def main() -> None:
    heads = " | ".join(f"{count} workers" if count > 1 else "1 worker" for count in WORKERS)
    print(f"| MiB | weights | graphs | other shapes | context | {heads} |")
    print("|---|" + "---:|" * (4 + len(WORKERS)))
    for backbone in ("resnet18", "resnet50", "resnet101"):
        with META:
            memory = worker_memory(build_segmenter(backbone))
        parts = (
            memory.weights,
            memory.graph_tensors + memory.graph_pool,
            memory.other_shapes,
            memory.context,
        )
        totals = (count * memory.total for count in WORKERS)
        cells = " | ".join(f"{size / MIB:.0f}" for size in (*parts, *totals))
        print(f"| {backbone} | {cells} |")


if __name__ == "__main__":
    main()
