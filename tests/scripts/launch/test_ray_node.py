"""Ray's nodes without Ray: their environment, their token, and what ends with them."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from scripts.launch import on_ray, ray_cluster
from scripts.launch.instance import LaunchError
from scripts.launch.ports import free_ports
from scripts.launch.process_groups import members
from scripts.launch.ray_head import TooSlow, running_head, wait_until_started
from scripts.launch.ray_node import cluster_token, cores, end_node, environment
from serving.runtime import device

TIMEOUT = 20  # seconds: a bound against hanging


def test_a_cluster_has_a_token_that_others_cannot_read(tmp_path: Path) -> None:
    token = cluster_token(tmp_path / "ray" / "token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    content = token.read_text("ascii")
    assert len(content.strip()) == 64
    assert cluster_token(token).read_text("ascii") == content  # a restart keeps it


def test_nodes_inherit_no_other_cluster_and_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "HTTP_PROXY", "https_proxy", "PYTHONPATH"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    settings = environment(tmp_path / "token")
    assert "elsewhere" not in settings.values()
    assert settings["PYTHONPATH"] == str(ROOT)
    assert settings["RAY_AUTH_MODE"] == "token"
    assert settings["RAY_SERVE_ENABLE_HA_PROXY"] == "0"  # what the operator says counts
    assert environment(tmp_path / "token", "10.0.0.1:6379")["RAY_ADDRESS"] == "10.0.0.1:6379"


@pytest.mark.parametrize(("share", "whole"), [(6.0, 6), (1.5, 1), (0.5, 1)])
def test_a_replicas_cores_are_those_that_ray_counts(
    monkeypatch: pytest.MonkeyPatch, share: float, whole: int
) -> None:
    monkeypatch.setattr(device, "core_share", lambda: share)
    assert cores() == whole


LEADER = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
time.sleep(60)
"""


def test_with_a_node_ends_what_its_leader_leaves_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEADER], stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"ready\n"
        assert len(members(leader.pid)) == 2
        end_node(leader.pid)
        assert members(leader.pid) == []


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        ("Exception: The current node timed out during startup. ...", TooSlow),
        ("ValueError: no such option", LaunchError),
    ],
)
def test_only_a_slow_start_is_tried_again(
    tmp_path: Path, printed: str, error: type[LaunchError]
) -> None:
    console = tmp_path / "console.log"
    console.write_text(f"starting\n{printed}\n", "ascii")
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(TIMEOUT)
        with pytest.raises(LaunchError, match="Ray ended: ") as raised:
            wait_until_started(ended, console)
    assert type(raised.value) is error


def test_a_process_id_of_another_program_is_no_node(tmp_path: Path) -> None:
    assert running_head(tmp_path) is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / "ray.pid").write_text(str(other.pid), "ascii")
        assert running_head(tmp_path) is None
        assert not on_ray.stop_on_ray(tmp_path)
        assert other.poll() is None


def test_a_port_that_a_cluster_does_not_take_is_named() -> None:
    port = free_ports().inference
    with pytest.raises(LaunchError, match=f"nothing responds on port {port}"):
        ray_cluster.check_served(port, seconds=0)


def test_without_the_heads_token_no_node_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "TOKEN", tmp_path / "token")
    with pytest.raises(LaunchError, match="copy it from the head"):
        ray_cluster.run_joined("10.0.0.1")
