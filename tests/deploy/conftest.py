"""A stub model, which obeys commands, behind a real TorchServe, and gateways before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.launch import gateway
from scripts.launch.credentials import Certificate
from scripts.launch.gateway import Gateway
from scripts.launch.ingress import DIRECT, Ingress
from scripts.launch.instance import Instance
from scripts.launch.lifecycle import running_instance
from scripts.launch.loopback import tiny_image
from scripts.launch.nginx_config import ClientLimits
from scripts.launch.ports import HOST, free_ports
from tests.debian import program
from tests.deploy.load import Endpoint
from tests.deploy.stub import stub_archive

# Far above what these tests need, so that none of them meets a limit by chance.
GENEROUS = ClientLimits(requests_per_second=10_000, burst=10_000, connections=200)


@dataclass(frozen=True)
class Stub:
    """The stub model's instance, and the folder for the files of its commands."""

    instance: Instance
    folder: Path


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    folder = tmp_path_factory.mktemp("stub")
    with running_instance(stub_archive(folder), tmp_path_factory.mktemp("service")) as instance:
        yield Stub(instance, folder)


@pytest.fixture(scope="session")
def nginx() -> Path:
    return program("nginx", "nginx")


@pytest.fixture
def start_gateway(nginx: Path, tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """A function that starts a gateway on a free port of loopback; they are stopped at the end."""
    started: list[Gateway] = []

    def start(
        torchserve: int,
        limits: ClientLimits = GENEROUS,
        certificate: Certificate | None = None,
        origins: tuple[str, ...] = (),
        ingress: Ingress = DIRECT,
        token: Path | None = None,
    ) -> Gateway:
        folder = tmp_path / f"gateway-{len(started)}"
        port = free_ports().inference
        started.append(
            gateway.start(
                folder,
                torchserve,
                tiny_image(),
                port,
                address=HOST,
                certificate=certificate,
                limits=limits,
                origins=origins,
                ingress=ingress,
                token=token,
            )
        )
        return started[-1]

    yield start
    for front in started:
        gateway.stop(front.folder)


@pytest.fixture(scope="session")
def front(nginx: Path, stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the stub."""
    folder = tmp_path_factory.mktemp("gateway")
    port = free_ports().inference
    torchserve = stub.instance.ports.inference
    try:
        yield gateway.start(folder, torchserve, tiny_image(), port, address=HOST, limits=GENEROUS)
    finally:
        gateway.stop(folder)


def endpoint_of(gateway: Gateway) -> Endpoint:
    return Endpoint(gateway.predictions, gateway.token, gateway.certificate)
