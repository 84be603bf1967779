"""Ports that are taken or do not exist."""

from __future__ import annotations

import socket

import pytest

from scripts.launch.ports import HOST, PortError, Ports, check_free
from tests.scripts.launch.running import is_free


def test_a_port_in_use_is_named_with_one_that_is_free(port: int) -> None:
    with socket.socket() as other:
        other.bind((HOST, port + 1))
        other.listen()
        with pytest.raises(PortError, match=rf"port {port + 1} is in use; .* PORT=\d+") as caught:
            check_free(Ports(port, port + 1, port + 2, port, port))
    assert is_free(int(str(caught.value).rpartition("=")[2]))


def test_a_port_out_of_range_is_named() -> None:
    with pytest.raises(PortError, match=r"port 65536 is out of range \(at most 65535\)"):
        check_free(Ports(65535, 65536, 65537, 65538, 65539))
