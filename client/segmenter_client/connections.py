"""Connections to the service: TLS, and the proxy that the environment names."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import PoolManager, ProxyManager, make_headers
from urllib3.util.ssl_ import create_urllib3_context

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
    credentials, _, _ = urlsplit(proxy).netloc.rpartition("@")
    return ProxyManager(
        proxy,
        proxy_headers=make_headers(proxy_basic_auth=unquote(credentials) or None),
        maxsize=connections,
        cert_reqs=cert_reqs,
        ca_certs=ca_certs,
    )


def environment_proxy(url: str) -> str | None:
    """The proxy's URL from https_proxy, no_proxy and the like, or the system's settings.

    Raises ValueError for one that does not speak HTTP.
    """
    parts = urlsplit(url)
    # A proxy does not lead to this machine.
    if parts.hostname in LOOPBACK or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = urlsplit(proxy).scheme
    if scheme not in ("http", "https"):
        raise ValueError(f"unsupported proxy: {scheme}; it must be http or https")
    return proxy


def tls_context(verify: bool | str | Path) -> ssl.SSLContext:
    """The TLS settings of `connection_pool`, for a library that takes them as a context.

    Raises OSError for a certificate file that cannot be read.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    if isinstance(verify, bool):
        context.load_default_certs()
    else:
        context.load_verify_locations(verify)
    return context
