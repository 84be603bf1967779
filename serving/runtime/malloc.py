"""What the C library does with memory that is free again: give it back instead of keeping it.

Every size of photo has activations of its own sizes, which do not fit into the holes that others
left: after 25 sizes there were 140 MB of holes, and the worker grew with every new one. Threads
would have heaps, and so holes, of their own: eight that decode in turn kept what eight at once
need.
"""

from __future__ import annotations

import ctypes
from typing import Any

# Seconds between two calls: one takes some 10 ms, and the next forward up to 40 to get pages anew.
# Until the next call forwards spread over the holes, of which there are more with every primitive
# that oneDNN keeps. 3,000 photos of 60 sizes, in batches, on small maps: with a call every 20
# batches the median grew by 9 %, with one heap for all threads by 4 %, and with a call after each
# batch by 1 %.
TRIM_SECONDS = 2.0


# Bytes from which a block is the system's own, and goes back when it is freed. glibc raises this
# to 32 MB as it goes; Pillow keeps an image in blocks of just below 16 MB.
OWN_BLOCK_BYTES = 15 << 20
# Bytes at the end of the heap that are kept for the next allocation. Once the other is set, glibc
# would fall back to 128 kB, and go to the system for every layer of the network.
KEPT_BYTES = 64 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def keep_little_memory() -> bool:
    """Let large blocks go when they are freed, and threads share one heap: 7 % less memory, and as
    fast. False where the C library is another than glibc."""
    mallopt = _from_c("mallopt")
    return bool(
        mallopt
        and mallopt(M_MMAP_THRESHOLD, OWN_BLOCK_BYTES)
        and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        and mallopt(M_ARENA_MAX, 1)
    )


def trim_memory() -> bool:
    """Return the holes to the system; False where the C library is another than glibc."""
    malloc_trim = _from_c("malloc_trim")
    if malloc_trim is None:
        return False
    malloc_trim(ctypes.c_size_t(0))
    return True


def _from_c(function: str) -> Any:
    """A function of the C library that this process runs on; None where it has none of the name."""
    try:
        return getattr(ctypes.CDLL(None), function)
    except (AttributeError, OSError, TypeError):
        return None
