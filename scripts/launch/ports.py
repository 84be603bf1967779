"""The five ports that an instance of TorchServe listens on."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import astuple, dataclass

from scripts.common.terminal import UserError

HOST = "127.0.0.1"


class PortError(UserError):
    """A port that is not available; names it, and one that is."""


@dataclass(frozen=True)
class Ports:
    """TorchServe's five ports. It opens the two for gRPC whether they are used or not."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


def ports_from(port: int) -> Ports:
    """Inference on `port`, management and metrics on the two after it, gRPC on free ones."""
    free = free_ports()
    return Ports(port, port + 1, port + 2, free.grpc_inference, free.grpc_management)


def free_ports() -> Ports:
    """Five ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(5)]
        for listener in sockets:
            listener.bind((HOST, 0))
        return Ports(*(listener.getsockname()[1] for listener in sockets))


def check_free(ports: Ports) -> None:
    """Raise PortError with the first port that is not available, and one that is."""
    for port in astuple(ports):
        problem = why_not(port)
        if problem:
            raise PortError(
                f"port {port} {problem}; choose another place, for instance "
                f"PORT={free_neighbour(ports.inference)}"
            )


def why_not(port: int) -> str | None:
    """Why a server cannot listen on `port`; None if it can."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as TorchServe does
        try:
            listener.bind((HOST, port))
        except OverflowError:
            return "is out of range (at most 65535)"
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            return "is in use" if in_use else f"is not available ({error.strerror})"
    return None


def free_neighbour(port: int) -> int:
    """A port above `port`, a multiple of ten, that is free together with the two after it."""
    first = max(1024, min(port, 60_000))
    for candidate in range(first + 10, 65_530, 10):
        if not any(why_not(candidate + offset) for offset in range(3)):
            return candidate
    return port
