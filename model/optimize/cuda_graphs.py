"""Forwards replayed from CUDA graphs: one launch in the place of several hundred.

At batch 1 a GPU is done with a layer before Python has launched the next. A graph holds all the
launches for one input shape. To capture it costs two forwards and an emptied cache of memory,
and photos come in many shapes; so a shape is captured when it comes again.

Not yet run on a GPU: what it gains is to be measured by scripts/bench/gpu.py.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]

# Graphs that are kept, each with its input and its launches. The memory of the activations they
# share, since all are captured on one stream: no two run at once, none reads what another left.
MAX_GRAPHS = 64

# Shapes without a graph that are remembered, of which one that comes again gets one. Few, so that
# clients whose photos are all of different sizes do not have one captured for every request.
RECENT_SHAPES = 16


class Replayed(nn.Module):
    """`net` with the same call: (B, 3, H, W) on any device -> (B, num_classes, h, w) on `device`.

    All inputs are of one dtype. What comes back is the caller's own. Where a capture fails, all
    goes on without graphs.
    """

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.net = net
        self.device = device
        self.graphs: OrderedDict[torch.Size, Forward] = OrderedDict()  # the last used is the last
        self.recent: deque[torch.Size] = deque(maxlen=RECENT_SHAPES)
        self.memory = memory_for_graphs(device)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        replay = self.graphs.pop(x.shape, None) or self.captured(x)
        if replay is None:
            return self.plain(x)
        self.graphs[x.shape] = replay
        return replay(x)

    def plain(self, x: Tensor) -> Tensor:
        """Without a graph; the memory of the graphs goes first where it is needed."""
        try:
            logits: Tensor = self.net(x)
            return logits
        except torch.cuda.OutOfMemoryError:
            if not self.graphs:
                raise
        # Out of the except block: until here the error holds the failed attempt's tensors.
        self.free()
        logits = self.net(x)
        return logits

    def captured(self, x: Tensor) -> Forward | None:
        """A graph for x's shape, if it came before; the one that was not used for longest goes."""
        if x.shape not in self.recent:
            self.recent.append(x.shape)
            return None
        while len(self.graphs) >= MAX_GRAPHS:
            self.graphs.popitem(last=False)
        try:
            return capture(self.net, x.to(self.device), self.memory)
        except RuntimeError:
            # Out of memory, or an operator that no graph can hold. Each try costs what the next
            # request needs, so this was the last.
            logger.exception("no CUDA graph of %s: forwards go on without", tuple(x.shape))
            self.recent = deque(maxlen=0)
        self.free()
        return None

    def free(self) -> None:
        """Give the memory of all graphs back. A pool without graphs is not used again."""
        self.graphs.clear()
        if self.memory is not None:
            # The stream stays: for each, cuBLAS keeps a workspace that is never given back.
            self.memory = self.memory._replace(pool=torch.cuda.graph_pool_handle())
        release_cached_memory()


def release_cached_memory() -> None:
    """Give the GPU's memory that PyTorch keeps for later use back to the driver, if it can be.

    After a capture that an operator broke off, PyTorch takes it for still underway and refuses.
    """
    with contextlib.suppress(RuntimeError):
        torch.cuda.empty_cache()


class GraphMemory(NamedTuple):
    """What graphs share. The allocator hands a block on only within one stream."""

    pool: Any
    stream: torch.cuda.Stream


def memory_for_graphs(device: torch.device) -> GraphMemory | None:
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return GraphMemory(torch.cuda.graph_pool_handle(), stream)


def capture(net: nn.Module, x: Tensor, memory: GraphMemory | None) -> Forward:
    """What replays net(x) for any input of x's shape, from a CUDA graph on x's device.

    Graphs with the same memory may only run one at a time. Raises RuntimeError where the network
    cannot be captured.
    """
    assert memory is not None
    given = x.clone()  # a graph reads and writes always the same addresses
    beside = memory.stream
    beside.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(beside):
        net(given)  # libraries get their workspaces of this stream outside of the graphs' pool
        graph = torch.cuda.CUDAGraph()
        # What another thread does meanwhile, such as giving memory back, ends no capture.
        with torch.cuda.graph(graph, memory.pool, beside, capture_error_mode="thread_local"):
            logits: Tensor = net(given)
    torch.cuda.current_stream(x.device).wait_stream(beside)

    def replay(x: Tensor) -> Tensor:
        given.copy_(x)
        graph.replay()
        return logits.clone()

    return replay
