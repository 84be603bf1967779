"""What stands between the clients and the gateway: nothing, or a proxy that ends TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from scripts.launch.credentials import GatewayError


@dataclass(frozen=True)
class Ingress:
    """How requests reach the gateway.

    With `plain_http` it takes HTTP: whoever sees the packets between the proxy and the gateway
    reads the photos, the masks and the token. `proxies` are networks, as 10.0.0.0/8, whose
    X-Forwarded-For is believed: else all clients behind a proxy share the limits of its address.
    """

    plain_http: bool = False
    proxies: tuple[str, ...] = ()


DIRECT = Ingress()


def parse_proxies(text: str) -> tuple[str, ...]:
    """Networks between commas, in their canonical form. Raises GatewayError for anything else."""
    parts = filter(None, (part.strip() for part in text.split(",")))
    try:
        return tuple(str(ipaddress.ip_network(part)) for part in parts)
    except ValueError as error:
        raise GatewayError(
            f"proxies are networks between commas, such as 10.0.0.0/8: {error}"
        ) from None


def nginx_settings(ingress: Ingress) -> dict[str, str]:
    """Values for the template deploy/gateway/nginx.conf."""
    trusted = [f"    set_real_ip_from {network};" for network in ingress.proxies]
    if trusted:
        trusted += ["    real_ip_header X-Forwarded-For;", "    real_ip_recursive on;"]
    return {
        "SSL": "" if ingress.plain_http else " ssl",
        "OR_NOT_HTTPS": "" if ingress.plain_http else ", or not HTTPS. This port takes HTTPS",
        "REAL_IP": "\n".join(trusted),
    }
