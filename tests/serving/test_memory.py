from __future__ import annotations

import platform

import psutil
import pytest

from serving.memory import trim_memory

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


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not trim_memory()
