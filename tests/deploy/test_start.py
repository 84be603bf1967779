"""Starting and stopping a gateway: with the service, alone, and where it cannot be started."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from scripts.launch import gateway
from scripts.launch.credentials import Certificate, GatewayError, own_certificate
from scripts.launch.gateway import HTTPS_OFFSET, Gateway
from scripts.launch.instance import LaunchError, folder_for, gateway_folder
from scripts.launch.lifecycle import start_behind_gateway, stop
from scripts.launch.ports import HOST, free_ports, why_not
from tests.debian import program
from tests.deploy.conftest import endpoint_of
from tests.deploy.load import Endpoint, loaded
from tests.deploy.stub import make_request, stub_archive
from tests.scripts.launch.echo import archive_of, saying
from tests.scripts.launch.running import is_free, processes_of, service_program

NOBODY = 65534

TIMEOUT = 120  # seconds: a bound against hanging

# A drain fails no request. But the stub responds at once, so that its clients may exceed the
# gateway's rate limit.
RATE_LIMITED = {"429"}

Start = Callable[..., Gateway]


@pytest.fixture
def port() -> Iterator[int]:
    """Free with its neighbours and the gateway's; an instance on it is stopped at the end."""
    candidates = random.sample(range(20_000, 32_000, 10), k=100)
    port = next(p for p in candidates if is_free(p) and not why_not(p + HTTPS_OFFSET))
    yield port
    stop(folder_for(port))
    shutil.rmtree(folder_for(port), ignore_errors=True)


def service(command: str, port: int, *options: str) -> str:
    """What `scripts.service` prints."""
    program = service_program(command, port, *options)
    printed = program.communicate(timeout=TIMEOUT)[1]
    assert program.returncode == 0, printed
    return printed


def test_it_starts_with_the_service_as_printed_and_is_drained_with_it(
    nginx: Path, tmp_path: Path, port: int
) -> None:
    program("curl", "curl")
    printed = service("start", port, "--archive", str(stub_archive(tmp_path)), "--gateway")
    front = front_of(port)
    assert front.token in printed

    curl = next(line for line in printed.splitlines() if line.startswith("curl "))
    photo, response = tmp_path / "photo.jpg", tmp_path / "response"
    photo.write_bytes(b"\xff\xd8 a photo")
    curl = curl.replace("photo.jpg", shlex.quote(str(photo)))
    curl = curl.replace("mask.png", shlex.quote(str(response)))
    subprocess.run(f"{curl} --silent --fail", shell=True, cwd=ROOT, timeout=TIMEOUT, check=True)
    assert hashlib.sha256(photo.read_bytes()).hexdigest() in response.read_text()

    with loaded(endpoint_of(front), 6, make_request) as load:
        load.wait_for(30)
        assert "stopped" in service("stop", port)
    assert load.failed.keys() <= RATE_LIMITED
    assert load.outcomes["refused"] == 6
    assert processes_of(folder_for(port)) == []
    assert is_free(port)
    assert not why_not(front.port)


def test_another_archive_is_deployed_behind_the_same_gateway(
    nginx: Path, tmp_path: Path, port: int
) -> None:
    own = Certificate(tmp_path / "my certificate.pem", tmp_path / "my key.pem")
    make_certificate(own, days=90)
    options = ("--certificate", str(own.chain), "--key", str(own.key), "--gateway")
    service("start", port, "--archive", str(archive_of(tmp_path, saying("first"))), *options)
    front = replace(front_of(port), certificate=own.chain)
    token = front.token
    assert endpoint_of(front).post(b"hello").text == "first"
    service("deploy", port, "--archive", str(archive_of(tmp_path, saying("second"))))
    assert endpoint_of(front).post(b"hello").text == "second"
    assert front.token == token


def front_of(port: int) -> Gateway:
    """The gateway of the instance on `port`, with the certificate that it makes for itself."""
    folder = gateway_folder(folder_for(port))
    return Gateway(folder, port + HTTPS_OFFSET, folder / "certificate.pem")


@pytest.mark.parametrize("ended", ["by SIGTERM", "by itself"])
def test_in_the_foreground(nginx: Path, tmp_path: Path, port: int, ended: str) -> None:
    front = front_of(port)
    archive = str(stub_archive(tmp_path))
    with service_program("run", port, "--archive", archive, "--gateway") as program:
        assert program.stderr is not None
        assert any("Ctrl-C stops it" in line for line in program.stderr)
        if ended == "by SIGTERM":
            with loaded(endpoint_of(front), 6, make_request) as load:
                load.wait_for(30)
                program.terminate()
                program.communicate(timeout=TIMEOUT)
            assert program.returncode == 128 + signal.SIGTERM
            assert load.failed.keys() <= RATE_LIMITED
            assert load.outcomes["refused"] == 6
        else:
            master = gateway.master_of(front.folder)
            assert master is not None
            master.terminate()
            assert "error: nginx ended by itself" in program.communicate(timeout=TIMEOUT)[1]
            assert program.returncode == 1
    assert processes_of(folder_for(port)) == []
    assert is_free(port)
    assert not why_not(front.port)


def test_nothing_is_left_after_an_interrupted_drain(
    nginx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    ports, https = free_ports(), free_ports().inference
    start_behind_gateway(stub_archive(tmp_path), tmp_path / "service", ports, https)
    monkeypatch.setattr(gateway, "wait_for_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stop(tmp_path / "service")
    assert processes_of(tmp_path) == []
    assert is_free(ports.inference)
    assert not why_not(https)
    assert not (tmp_path / "service" / "gateway" / "tmp").exists()


def test_no_gateway_is_left_if_the_service_does_not_start(nginx: Path, tmp_path: Path) -> None:
    port = free_ports().inference
    with pytest.raises(LaunchError, match="does not exist"):
        start_behind_gateway(tmp_path / "none.mar", tmp_path / "service", free_ports(), port)
    assert processes_of(tmp_path) == []
    assert not why_not(port)


def test_the_token_and_the_certificate_are_kept(start_gateway: Start) -> None:
    front = start_gateway(free_ports().inference)
    token, certificate = front.token, front.certificate.read_bytes()
    assert gateway.stop(front.folder)
    again = gateway.start(front.folder, 1, b"", front.port, address=HOST)
    assert (again.token, again.certificate.read_bytes()) == (token, certificate)

    gateway.stop(front.folder)
    (front.folder / "token").unlink()
    renewed = gateway.start(front.folder, 1, b"", front.port, address=HOST)
    assert renewed.token != token
    old = Endpoint(renewed.predictions, token, renewed.certificate)
    assert old.post(b"hello").status_code == 401


def test_a_certificate_is_renewed_before_it_expires(tmp_path: Path) -> None:
    own = own_certificate(tmp_path)
    first = own.chain.read_bytes()
    assert own_certificate(tmp_path).chain.read_bytes() == first
    make_certificate(own, days=29)
    short = own.chain.read_bytes()
    assert own_certificate(tmp_path).chain.read_bytes() not in (first, short)


def test_a_users_own_certificate(start_gateway: Start, tmp_path: Path) -> None:
    own = Certificate(tmp_path / "my certificate.pem", tmp_path / "my $key.pem")
    make_certificate(own, days=90)
    front = start_gateway(free_ports().inference, certificate=own)
    response = Endpoint(front.predictions, front.token, own.chain).post(b"hello")
    assert response.status_code == 503  # no TorchServe, but TLS


def make_certificate(certificate: Certificate, days: int) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", str(days), "-newkey", "rsa:2048"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(certificate.key), "-out", str(certificate.chain)),
        ],
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT,
        check=True,
    )


def test_reasons_not_to_start(start_gateway: Start, tmp_path: Path) -> None:
    front = start_gateway(free_ports().inference)
    folder, port = tmp_path / "other", free_ports().inference
    with pytest.raises(GatewayError, match=r"runs in .* already: `make stop` ends it"):
        gateway.start(front.folder, 1, b"", port, address=HOST)
    with socket.create_server((HOST, port)):
        message = rf"port {port}, of the gateway, is in use; .*--gateway-port"
        with pytest.raises(GatewayError, match=message):
            gateway.start(folder, 1, b"", port, address=HOST)
    damaged = Certificate(folder / "token", folder / "token")
    with pytest.raises(GatewayError, match=r"nginx does not start: .*tls\.crt"):
        gateway.start(folder, 1, b"", port, address=HOST, certificate=damaged)
    missing = Certificate(tmp_path / "absent.pem", tmp_path / "absent.key")
    with pytest.raises(GatewayError, match=r"there is no .*absent\.pem, for TLS"):
        gateway.start(folder, 1, b"", port, address=HOST, certificate=missing)
    (folder / "token").write_text("secret")
    with pytest.raises(GatewayError, match="does not hold 64 hexadecimal digits"):
        gateway.start(folder, 1, b"", port, address=HOST)
    assert processes_of(folder) == []
    assert not (folder / "tmp").is_symlink()


def test_no_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "SYSTEM_PROGRAMS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GatewayError, match="nginx, which is missing: apt-get install nginx"):
        gateway.start(tmp_path, 1, b"", free_ports().inference)


def test_a_gateway_whose_torchserve_is_gone_is_stopped(nginx: Path, tmp_path: Path) -> None:
    folder = gateway_folder(tmp_path)
    front = gateway.start(folder, 1, b"", free_ports().inference, address=HOST)
    assert stop(tmp_path)
    assert not why_not(front.port)
    assert not stop(tmp_path)


def test_stopping_a_gateway_that_does_not_run(tmp_path: Path) -> None:
    assert not gateway.stop(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it(nginx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = gateway.launch

    def launch_as_nobody(program: str, folder: Path) -> None:
        for path in (folder, *folder.iterdir(), (folder / "tmp").resolve()):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        as_nobody = functools.partial(subprocess.run, user=NOBODY, group=NOBODY, extra_groups=[])
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "run", as_nobody)
            launch(program, folder)

    monkeypatch.setattr(gateway, "launch", launch_as_nobody)
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # tmp_path is root's alone
    try:
        front = gateway.start(folder, 1, b"", free_ports().inference, address=HOST)
        master = gateway.master_of(folder)
        assert master is not None
        assert {process.uids().real for process in (master, *master.children())} == {NOBODY}
        body = b"x" * 3_000_000  # more than nginx keeps in memory
        assert endpoint_of(front).post(body).status_code == 503
    finally:
        gateway.stop(folder)
        shutil.rmtree(folder)
