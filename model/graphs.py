"""Forwards replayed from CUDA graphs: one launch in the place of several hundred.

At batch 1 a GPU is done with a layer before Python has launched the next. A graph holds all the
launches for one input shape. To capture it costs two forwards, and photos come in many shapes; so a
shape is captured when it comes again.

Not yet run on a GPU: what it gains is to be measured by scripts/bench_gpu.py.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]

# Graphs that are kept, each with its input and its launches. The memory of the activations they
# share: no two run at once, and none reads what another left.
MAX_GRAPHS = 64

# Shapes without a graph that are remembered, of which one that comes again gets one. Few, so that
# clients whose photos are all of different sizes do not have one captured for every request.
RECENT_SHAPES = 16


class Replayed(nn.Module):
    """`net` with the same call: (B, 3, H, W) on any device -> (B, num_classes, h, w) on `device`.

    What comes back is the caller's own. Where a capture fails, all goes on without graphs.
    """

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.net = net
        self.device = device
        self.graphs: OrderedDict[torch.Size, Forward] = OrderedDict()  # the last used is the last
        self.recent: deque[torch.Size] = deque(maxlen=RECENT_SHAPES)
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        replay = self.graphs.pop(x.shape, None) or self.captured(x)
        if replay is None:
            logits: Tensor = self.net(x)
            return logits
        self.graphs[x.shape] = replay
        return replay(x)

    def captured(self, x: Tensor) -> Forward | None:
        """A graph for x's shape, if it came before; the one that was not used for longest goes."""
        if x.shape not in self.recent:
            self.recent.append(x.shape)
            return None
        while len(self.graphs) >= MAX_GRAPHS:
            self.graphs.popitem(last=False)
        try:
            return capture(self.net, x.to(self.device), self.pool)
        except RuntimeError:
            # Out of memory, or an operator that no graph can hold. Each try costs what the next
            # request needs, so this was the last.
            logger.exception("no CUDA graph of %s: forwards go on without", tuple(x.shape))
            self.graphs.clear()
            self.recent = deque(maxlen=0)
            return None


def capture(net: nn.Module, x: Tensor, pool: Any = None) -> Forward:
    """What replays net(x) for any input of x's shape, from a CUDA graph on x's device.

    Graphs with the same `pool`, of torch.cuda.graph_pool_handle(), share memory: then only one of
    them may run at a time. Raises RuntimeError where the network cannot be captured.
    """
    given = x.clone()  # a graph reads and writes always the same addresses
    beside = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(beside):
        net(given)  # cuBLAS gets its memory for this stream, which it could not while capturing
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: for masks.
        with torch.cuda.graph(graph, pool, beside, capture_error_mode="thread_local"):
            logits: Tensor = net(given)
    torch.cuda.current_stream(x.device).wait_stream(beside)

    def replay(x: Tensor) -> Tensor:
        given.copy_(x)
        graph.replay()
        return logits.clone()

    return replay
