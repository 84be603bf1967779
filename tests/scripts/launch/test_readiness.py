"""Why a worker died, by its log."""

from __future__ import annotations

from scripts.launch.readiness import last_exception


def test_the_exception_in_a_log_is_the_workers_own() -> None:
    log = "\n".join(
        f"2026-01-02T03:04:05,678 [INFO ] W-9000-segmenter_1.0-stdout MODEL_LOG - {line}"
        for line in (
            "Listening on port: /tmp/.ts.sock.9000",
            "Traceback (most recent call last):",
            '  File "loading.py", line 3, in load',
            "OSError: unreadable",
            "",
            "The above exception was the direct cause of the following exception:",
            "",
            "Traceback (most recent call last):",
            '  File "handler.py", line 7, in initialize',
            "serving.runtime.loading.ArchiveError: weights.pth is damaged",
            "Backend worker process died.",
            "Traceback (most recent call last):",
            '  File "model_service_worker.py", line 301, in <module>',
            "RuntimeError: 500 - Unknown exception",
        )
    )
    assert last_exception(log) == "serving.runtime.loading.ArchiveError: weights.pth is damaged"
    assert last_exception("") is None
