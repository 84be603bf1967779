"""Every run is in a folder of its own, with short pauses where a test says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from segmenter_client.cli.access import TOKEN_VARIABLE


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter_client.retries.FIRST_PAUSE", 0.01)
