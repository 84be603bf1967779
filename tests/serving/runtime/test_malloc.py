from __future__ import annotations

import platform
import subprocess
import sys

import psutil
import pytest

from serving.runtime.malloc import limit_heap_growth, trim_memory

HOLE_BYTES = 100_000  # below the 128 kB from which glibc takes memory from the system directly


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can")
def test_holes_are_given_back() -> None:
    process = psutil.Process()
    blocks = [bytearray(HOLE_BYTES) for _ in range(2000)]
    keep = blocks[::50]  # between them are the holes, which so cannot be cut off at the end
    del blocks
    before = process.memory_info().rss
    assert trim_memory()
    freed = before - process.memory_info().rss
    assert freed > 100 * HOLE_BYTES
    assert len(keep) == 40


# Pillow's blocks, allocated and freed until glibc by itself would keep them.
LARGE_BLOCKS = """
import ctypes, sys, psutil
from serving.runtime.malloc import limit_heap_growth

if sys.argv[1] == "set":
    assert limit_heap_growth()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
size = (16 << 20) - 30_000
libc.free(libc.malloc(20 << 20))
blocks = [libc.malloc(size) for _ in range(16)]
pin = libc.malloc(1 << 20)  # above them, so that they cannot be cut off at the end
for block in blocks:
    ctypes.memset(block, 1, size)
before = psutil.Process().memory_info().rss
for block in blocks:
    libc.free(block)
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can")
def test_large_blocks_go_back_at_once() -> None:
    given_back = {
        how: int(subprocess.check_output([sys.executable, "-c", LARGE_BLOCKS, how]))
        for how in ("set", "as it is")
    }
    assert given_back["set"] > 250_000_000
    assert given_back["as it is"] < given_back["set"] / 2


# Threads that allocate at the same time, of which glibc gives each a heap.
THREADS = """
import ctypes, sys, threading
from serving.runtime.malloc import limit_heap_growth

if sys.argv[1] == "set":
    assert limit_heap_growth()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
at_once = threading.Barrier(4)

def allocate():
    at_once.wait()
    libc.malloc(10_000)

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can")
def test_threads_share_a_heap() -> None:
    heaps = {
        how: subprocess.check_output([sys.executable, "-c", THREADS, how]).count(b"<heap nr=")
        for how in ("set", "as it is")
    }
    assert heaps["set"] == 1
    assert heaps["as it is"] > 1


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not trim_memory()
    assert not limit_heap_growth()
