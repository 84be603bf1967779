"""CORS_ORIGINS without the gateway: TorchServe's own setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.launch.lifecycle import running_instance
from scripts.launch.loopback import session
from scripts.launch.torchserve import configured_origins
from tests.deploy.stub import stub_archive

pytestmark = pytest.mark.service

ORIGIN = "https://app.example.org"
TIMEOUT = 60  # seconds: a bound against hanging


def test_pages_of_one_origin(tmp_path: Path) -> None:
    archive, folder = stub_archive(tmp_path), tmp_path / "service"
    with running_instance(archive, folder, origins=(ORIGIN,)) as instance, session() as http:
        preflight = http.options(
            instance.predictions,
            headers={
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-segmenter-output",
            },
            timeout=TIMEOUT,
        )
        posted = http.post(
            instance.predictions, data=b"hello", headers={"Origin": ORIGIN}, timeout=TIMEOUT
        )
        assert configured_origins(folder) == (ORIGIN,)
    for response in (preflight, posted):
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "X-Segmenter-Output" in preflight.headers["Access-Control-Allow-Headers"]
    assert posted.json()["sha256"]
