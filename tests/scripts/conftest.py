"""A port for an instance that is started as `make start` starts it, in the checkout's build/."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import pytest

from scripts.launch.instance import folder_for
from scripts.launch.lifecycle import stop
from tests.scripts.launch.running import is_free


@pytest.fixture
def port() -> Iterator[int]:
    """A free one between free ones; what runs there is stopped at the end, its folder removed."""
    # At random, so that two runs of the tests do not meet; below those that systems hand out.
    candidates = random.sample(range(20_000, 32_000, 10), k=100)
    port = next(port for port in candidates if is_free(port))
    yield port
    stop(folder_for(port))
    shutil.rmtree(folder_for(port), ignore_errors=True)
