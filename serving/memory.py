"""Gives back memory that is free but still the process's.

Every size of photo has activations of its own sizes, which do not fit into the holes that others
left: after 25 sizes the C library held 140 MB of holes, and the worker grew with every new one.
"""

from __future__ import annotations

import ctypes

# Seconds between two calls. One takes some 10 ms, and the next forward as long to get pages anew.
TRIM_SECONDS = 5.0


def trim_memory() -> bool:
    """Return the holes to the system; False where the C library has no way to: only glibc has."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    malloc_trim(ctypes.c_size_t(0))
    return True
