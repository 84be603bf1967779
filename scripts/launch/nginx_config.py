"""nginx's configuration: deploy/gateway/nginx.conf, filled in for one gateway."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

from scripts.common.terminal import ROOT, shown
from scripts.launch.cors import nginx_settings as cors_settings
from scripts.launch.credentials import GatewayError
from scripts.launch.ingress import DIRECT, Ingress
from scripts.launch.ingress import nginx_settings as ingress_settings
from scripts.launch.ports import HOST

TEMPLATE = ROOT / "deploy" / "gateway" / "nginx.conf"
PROPERTIES = ROOT / "config.properties"

# Seconds. Even a photo of 50 megapixels behind a full queue gets its response within them.
DRAIN_SECONDS = 120


@dataclass(frozen=True)
class ClientLimits:
    """What one client address may use, and how long it may keep others waiting."""

    requests_per_second: int = 50
    burst: int = 100  # requests above that rate before the first is refused
    connections: int = 16  # requests in flight: half of TorchServe's queue
    client_seconds: int = 15  # between two pieces of a request or response
    # For the tiny prediction behind /ready, which waits in the queue with all others: as long as
    # any prediction may (proxy_read_timeout), so that a service that responds in time is ready
    # under load, too. A full queue, 8 running and 32 waiting, is 40 s at 1 s a photo; with lists of
    # images five batches of some 18 s (LIST_SECONDS in serving/runtime/service.py).
    probe_seconds: int = 130


def nginx_config(
    address: str,
    torchserve: int,
    probe: bytes,
    temp: Path,
    limits: ClientLimits,
    origins: tuple[str, ...] = (),
    ingress: Ingress = DIRECT,
) -> str:
    """The configuration of a gateway that listens on `address`, "host:port".

    `torchserve` is the port on loopback that it passes requests on to, `probe` the image file whose
    prediction tells whether the service is ready, and `temp` a folder that nginx's workers can
    reach. Pages of `origins` may send requests.
    """
    # Imported here, as these import torch: seconds that a service without a gateway need not wait.
    from serving.formats import FORMATS
    from serving.response.protocol_documents import SERVER_LIVE, SERVER_READY, server_metadata
    from serving.wire import DOCUMENTS

    settings = {
        **{name.upper(): str(value) for name, value in vars(limits).items()},
        "LISTEN": address,
        "TORCHSERVE": f"{HOST}:{torchserve}",
        "PROBE": base64.b64encode(probe).decode("ascii"),
        "MAX_BYTES": str(max_request_size()),
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        "FORMATS": "|".join([*FORMATS, *DOCUMENTS]),
        "SERVER_LIVE": json.dumps(SERVER_LIVE),
        "SERVER_READY": json.dumps(SERVER_READY),
        "SERVER_METADATA": json.dumps(server_metadata()),
        **cors_settings(origins),
        **ingress_settings(ingress),
        "TEMP": str(temp),
    }
    return filled_in(TEMPLATE.read_text("utf-8"), settings)


def filled_in(template: str, values: dict[str, str]) -> str:
    """The template with a value for every %NAME%; KeyError for one that has none."""
    return re.sub(r"%([A-Z_]+)%", lambda match: values[match[1]], template)


def listener_in(config: str) -> tuple[int, bool]:
    """The port that a filled-in configuration listens on, and whether by plain HTTP."""
    found = re.search(r"^ *listen \S+:(\d+)( ssl)?;$", config, re.MULTILINE)
    assert found is not None  # the template has exactly this line
    return int(found[1]), found[2] is None


def max_request_size() -> int:
    """Bytes of a request that TorchServe accepts."""
    found = re.search(r"^max_request_size=(\d+)$", PROPERTIES.read_text("ascii"), re.MULTILINE)
    if found is None:
        raise GatewayError(f"{shown(PROPERTIES)} names no max_request_size")
    return int(found[1])
