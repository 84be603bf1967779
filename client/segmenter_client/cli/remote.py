"""Images at addresses: over HTTP by urllib3, from S3, Google Cloud and others by fsspec."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final  # Any: fsspec has no types

from urllib3 import Retry, Timeout
from urllib3.exceptions import HTTPError

from segmenter_client.cli.terminal import UserError, printable
from segmenter_client.connections import connection_pool
from segmenter_client.errors import root_cause

# Two letters at least: C:\ is a drive.
ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0  # without data
TOTAL_SECONDS: Final = 300.0  # for all tries of one image, however slowly it arrives
CHUNK_BYTES: Final = 1 << 16

REDIRECTS_ONLY: Final = Retry(
    total=None, connect=0, read=0, status=0, other=0, redirect=5, raise_on_redirect=False
)

# Tries of one image, and the seconds between the first two; they double.
TRIES: Final = 4
FIRST_PAUSE = 0.5
RETRIED_STATUSES: Final = (429, 500, 502, 503, 504)


class TransientError(Exception):
    """What may not happen at the next try; the message is for people."""


def is_remote(name: str) -> bool:
    return ADDRESS.match(name) is not None


def is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def read_remote(url: str, max_bytes: int) -> bytes:
    """The file at an address. Raises OSError, also for more than `max_bytes`."""
    deadline = time.monotonic() + TOTAL_SECONDS
    if is_http(url):
        content = _read_retrying(partial(_read_http, url, max_bytes, deadline), deadline)
    else:
        content = _read_retrying(partial(_read_fsspec, url, max_bytes), deadline)
    if len(content) > max_bytes:
        raise OSError(f"over {max_bytes} bytes, more than the service reads")
    return content


def list_remote(url: str, recursive: bool, is_image: Callable[[str], bool]) -> Iterator[str]:
    """The addresses that one stands for: itself; images in a folder, if it ends in a slash; globs.

    HTTP has no folders, so neither is listed there. Raises UserError.
    """
    if is_http(url):
        yield url
        return
    system, path = file_system(url)
    is_folder = url.endswith("/")
    if not is_folder and "*" not in path:
        yield url
        return
    try:
        if is_folder:
            found = system.find(path, maxdepth=None if recursive else 1)
        else:
            found = system.glob(path)
    except Exception as error:  # each file system has its own
        raise UserError(f"cannot list {printable(url)}: {error}") from error
    names = sorted(name for name in found if is_image(name.rpartition("/")[2]))
    if not names:
        raise UserError(f"no images found at {printable(url)}")
    for name in names:
        yield system.unstrip_protocol(name)


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path there. Raises UserError."""
    scheme = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs  # of the extra `remote`

        system, path = url_to_fs(url)
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs more packages: pip install 'segmenter-client[remote]' ({error})"
        ) from error
    except Exception as error:  # an unknown scheme, or whatever a file system finds wrong
        raise UserError(f"cannot read {printable(url)}: {error}") from error
    return system, str(path)


def _read_retrying(read: Callable[[], bytes], deadline: float) -> bytes:
    """What `read` returns. No try begins after the deadline (s, monotonic). Raises OSError."""
    pause = FIRST_PAUSE
    tries = 1
    while True:
        try:
            return read()
        except TransientError as error:
            if tries == TRIES:
                raise OSError(f"{error}, {TRIES} times") from error
            if time.monotonic() + pause > deadline:
                raise OSError(f"{error}, and {TOTAL_SECONDS:.0f} s are over") from error
        time.sleep(pause)
        pause *= 2
        tries += 1


def _read_http(url: str, max_bytes: int, deadline: float) -> bytes:
    """At most one chunk more than `max_bytes`. Raises TransientError or OSError."""
    body = bytearray()
    try:
        with (
            connection_pool(url, verify=True, connections=1) as pool,
            pool.request(
                "GET",
                url,
                timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=REDIRECTS_ONLY,
                preload_content=False,
            ) as response,
        ):
            if response.status in RETRIED_STATUSES:
                raise TransientError(f"HTTP status {response.status}")
            if response.status != 200:
                raise OSError(f"HTTP status {response.status}")
            for chunk in response.stream(CHUNK_BYTES):
                body += chunk
                if len(body) > max_bytes:
                    break
                if time.monotonic() > deadline:
                    raise OSError(f"takes more than {TOTAL_SECONDS:.0f} s to arrive")
    except HTTPError as error:
        raise TransientError(root_cause(error)) from error
    except ValueError as error:  # a proxy that does not speak HTTP
        raise OSError(str(error)) from error
    return bytes(body)


def _read_fsspec(url: str, max_bytes: int) -> bytes:
    """At most one byte more than `max_bytes`. Raises TransientError or OSError."""
    system, path = file_system(url)
    try:
        with system.open(path, "rb") as file:
            return bytes(file.read(max_bytes + 1))
    except (FileNotFoundError, PermissionError) as error:
        raise OSError(error.strerror or f"cannot be read: {error}") from error
    except Exception as error:  # each file system has its own
        raise TransientError(f"{type(error).__name__}: {error}") from error
