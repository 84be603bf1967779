"""What `python -m cluster` says where no replica starts."""

from __future__ import annotations

from cluster.__main__ import reason

TRACEBACK = """The deployment failed to start 3 times in a row. Error:
  File "serving/runtime/golden.py", line 110, in read_logits
serving.runtime.loading.ArchiveError: golden.npz is missing from the archive
"""


def test_the_reason_is_what_the_replica_raised() -> None:
    failed = RuntimeError("Failed to update the deployments ['segmenter'].")
    assert reason(failed, [TRACEBACK]) == (
        "serving.runtime.loading.ArchiveError: golden.npz is missing from the archive"
    )


def test_without_a_replica_it_is_the_error_itself() -> None:
    assert reason(RuntimeError("Ray has ended."), []) == "Ray has ended."
