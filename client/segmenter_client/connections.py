"""Connections to the service: TLS, and the proxy that the environment names."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import PoolManager, ProxyManager, make_headers

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def connection_pool(url: str, *, verify: bool | str | Path, connections: int) -> PoolManager:
    """Reusable connections for so many threads.

    `verify` is False for any certificate, True for those that the system trusts, or the file (PEM)
    of one to trust. Raises ValueError for a proxy that does not speak HTTP.
    """
    cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
    ca_certs = None if isinstance(verify, bool) else str(verify)
    proxy = environment_proxy(url)
    if proxy is None:
        return PoolManager(maxsize=connections, cert_reqs=cert_reqs, ca_certs=ca_certs)
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"unsupported proxy: {parts.scheme}; it must be http or https")
    credentials, _, _ = parts.netloc.rpartition("@")
    return ProxyManager(
        proxy,
        proxy_headers=make_headers(proxy_basic_auth=unquote(credentials) or None),
        maxsize=connections,
        cert_reqs=cert_reqs,
        ca_certs=ca_certs,
    )


def environment_proxy(url: str) -> str | None:
    """The proxy's URL from https_proxy, no_proxy and the like, or the system's settings."""
    parts = urlsplit(url)
    # A proxy does not lead to this machine.
    if parts.hostname in LOOPBACK or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
