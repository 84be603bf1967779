"""Process groups end whole, and are not lost to an interruption."""

from __future__ import annotations

import signal
import subprocess

import pytest

from scripts.launch import process_groups as processes
from scripts.launch.process_groups import end_group, interrupts_deferred, members


def test_an_interrupt_takes_effect_at_the_blocks_end() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            steps.append("inside")
        steps.append("behind")
    assert steps == ["inside"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("script", ["sleep 100 & exec sleep 100", "sleep 100 & exit"])
def test_a_group_ends_with_all_it_started(script: str) -> None:
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    if script.endswith("exit"):
        leader.wait()  # the group outlives it
    assert members(leader.pid)
    end_group(leader.pid)
    assert members(leader.pid) == []
    leader.wait()


def test_what_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.3)
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    deaf = subprocess.Popen(
        ["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert deaf.stdout is not None
    with deaf.stdout as output:
        assert output.readline() == "deaf\n"
        end_group(deaf.pid)
    assert deaf.wait() == -signal.SIGKILL
