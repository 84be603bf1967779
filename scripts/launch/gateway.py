"""The gateway: nginx in front of TorchServe, with TLS, a token, limits and retries.

`python -m scripts.service start --gateway` starts it with the service, and `stop` drains it first;
so does `run --gateway` in the foreground. deploy/gateway/nginx.conf says what it does; this module
starts and stops nginx with it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.common.terminal import last_line, say, shown
from scripts.launch.contract import gateway_contract
from scripts.launch.cors import origins_in
from scripts.launch.credentials import (
    Certificate,
    GatewayError,
    credentials,
    given_token,
    made_certificate,
    own_certificate,
    token_of,
    write_secret,
)
from scripts.launch.ingress import DIRECT, Ingress
from scripts.launch.nginx_config import (
    DRAIN_SECONDS,
    ClientLimits,
    listener_in,
    nginx_config,
)
from scripts.launch.ports import free_neighbour, why_not
from scripts.launch.process_groups import end_group, interrupts_deferred, members
from serving.wire import MODEL_NAME

# From the inference port to the one for HTTPS: 8080 -> 8443.
HTTPS_OFFSET = 363

# Every interface: a gateway exists to be reached. The tests keep to loopback.
ANY_ADDRESS = "0.0.0.0"

# Debian installs nginx in a folder that is on root's PATH only.
SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin"

# Bytes of each of nginx's logs, of which the last one is kept, too: as much as TorchServe keeps.
LOG_BYTES = 100_000_000

START_SECONDS = 20.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Gateway:
    """A running gateway: its folder, its port, and the certificate it shows unless `plain_http`.

    Pages of `origins` may send requests to it.
    """

    folder: Path
    port: int
    certificate: Path
    origins: tuple[str, ...] = ()
    plain_http: bool = False

    @property
    def url(self) -> str:
        return f"{'http' if self.plain_http else 'https'}://localhost:{self.port}"

    @property
    def predictions(self) -> str:
        return f"{self.url}/predictions/{MODEL_NAME}"

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text("ascii").strip()

    @property
    def header(self) -> Path:
        """A file with the header that authorises, for `curl -H @file`."""
        return self.folder / "authorization"


def start(
    folder: Path,
    torchserve: int,
    probe: bytes,
    port: int,
    *,
    address: str = ANY_ADDRESS,
    certificate: Certificate | None = None,
    limits: ClientLimits | None = None,
    origins: tuple[str, ...] = (),
    ingress: Ingress = DIRECT,
    token: Path | None = None,
) -> Gateway:
    """Serve HTTPS on `port` for the TorchServe on loopback's port `torchserve`.

    `probe` is an image file whose prediction tells whether the service is ready. Without a
    `certificate` a self-signed one is made. Browsers let pages of `origins` send requests. `token`
    is a file with the token; without one the folder's own is kept. Returns
    when nginx listens, whether TorchServe responds or not; raises GatewayError, and leaves no
    process behind, where nginx does not start.
    """
    program = find_nginx()
    if master_of(folder) is not None:
        raise GatewayError(f"a gateway runs in {shown(folder)} already: `make stop` ends it")
    problem = why_not(port)
    if problem:
        raise GatewayError(
            f"port {port}, of the gateway, {problem}; choose another one with --gateway-port, "
            f"for instance {free_neighbour(port)}"
        )
    certificate = prepare(folder, certificate, token)
    try:
        with interrupts_deferred():
            temp = make_temp(folder)
            listen = f"{address}:{port}"
            limits = limits or ClientLimits()
            config = nginx_config(listen, torchserve, probe, temp, limits, origins, ingress)
            (folder / "nginx.conf").write_text(config, "utf-8")
            (temp / "openapi.json").write_text(gateway_contract(), "ascii")
            (temp / "openapi.json").chmod(0o644)
            launch(program, folder)
    except BaseException:
        stop(folder)
        raise
    return Gateway(folder, port, certificate.chain, origins, ingress.plain_http)


def running_in(folder: Path) -> Gateway | None:
    """The gateway that runs in `folder`, None where there is none."""
    if master_of(folder) is None:
        return None
    config = (folder / "nginx.conf").read_text("utf-8")
    certificate = (folder / "tls.crt").resolve()
    port, plain_http = listener_in(config)
    return Gateway(folder, port, certificate, origins_in(config), plain_http)


def stop(folder: Path) -> bool:
    """Let the requests in flight end, then the gateway; returns whether there was one.

    New connections are refused from the start.
    """
    master = master_of(folder)
    try:
        if master is not None:
            master.send_signal(signal.SIGQUIT)
            wait_for_end(master)
    finally:
        if master is not None:
            end_group(master.pid)
        remove_temp(folder)
    return master is not None


def bound_logs(folder: Path) -> None:
    """Set nginx's logs aside once they are large; a line or two may be lost.

    They are emptied instead of opened anew: where root started nginx, its workers, as nobody,
    cannot open a file in this folder. On a full disk the lines are lost, and the service goes on.
    """
    for name in ("access.log", "error.log"):
        log = folder / name
        if log.exists() and log.stat().st_size > LOG_BYTES:
            with contextlib.suppress(OSError):
                shutil.copyfile(log, folder / f"{name}.1")
            os.truncate(log, 0)


def how_to_call(gateway: Gateway) -> str:
    """For a terminal: the address, the token, and a curl command that works as it is printed.

    With a user's own certificate, HOST stands for a name that is in it.
    """
    url, trust = gateway.predictions, f"--cacert {shlex.quote(shown(gateway.certificate))} "
    if gateway.certificate != made_certificate(gateway.folder).chain:
        url, trust = url.replace("localhost", "HOST"), ""
    # From a file, so that the token stays out of curl's arguments, which all users can read.
    return (
        f"gateway  {url}\n"
        f"token    {gateway.token}\n"
        "         in a browser it is the password, of any user\n"
        f"curl {trust}-H @{shlex.quote(shown(gateway.header))} -T photo.jpg {url} -o mask.png"
    )


def given_certificate(gateway: Gateway) -> Certificate | None:
    """The certificate that the user gave to a running gateway; None where it made its own."""
    made, key = made_certificate(gateway.folder), (gateway.folder / "tls.key").resolve()
    if gateway.certificate == made.chain.resolve():
        return None
    return Certificate(gateway.certificate, key)


def wait_for_end(master: psutil.Process) -> None:
    """Return when all of nginx has ended, or should have: it gives itself DRAIN_SECONDS."""
    deadline = time.monotonic() + DRAIN_SECONDS + START_SECONDS
    said = time.monotonic()
    while members(master.pid) and time.monotonic() < deadline:
        if time.monotonic() > said + START_SECONDS:
            said = time.monotonic()
            say("waiting for requests in flight")
        time.sleep(POLL_SECONDS)


def prepare(folder: Path, certificate: Certificate | None, given: Path | None) -> Certificate:
    """Make the gateway's folder, with token, nginx's list of credentials, and files for TLS."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if given is not None:
        write_secret(folder / "token", given_token(given) + "\n")
    token = token_of(folder)
    write_secret(folder / "credentials", credentials(token))
    write_secret(folder / "authorization", f"Authorization: Bearer {token}\n")
    certificate = certificate or own_certificate(folder)
    link_certificate(folder, certificate)
    return certificate


def find_nginx() -> str:
    path = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PROGRAMS}"
    program = shutil.which("nginx", path=path)
    if program is None:
        raise GatewayError("the gateway is nginx, which is missing: apt-get install nginx")
    return program


def launch(program: str, folder: Path) -> None:
    """Start nginx as a daemon; returns when its master has written its process id."""
    command = [program, "-p", str(folder.resolve()), "-c", "nginx.conf", "-e", "error.log"]
    (folder / "nginx.pid").unlink(missing_ok=True)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GatewayError(f"nginx does not start: {last_line(done.stderr)}")
    deadline = time.monotonic() + START_SECONDS
    while master_of(folder) is None:
        if time.monotonic() > deadline:
            raise GatewayError(f"nginx has ended: see {shown(folder / 'error.log')}")
        time.sleep(POLL_SECONDS)


def master_of(folder: Path) -> psutil.Process | None:
    """nginx's master process in `folder`, None where none runs there. It leads a process group."""
    try:
        process = psutil.Process(int((folder / "nginx.pid").read_text("ascii")))
        command = " ".join(process.cmdline())  # empty for a zombie
    except (OSError, ValueError, psutil.Error):
        return None
    return process if f"-p {folder.resolve()} " in command else None


def link_certificate(folder: Path, certificate: Certificate) -> None:
    """Link tls.crt and tls.key to the two files, whose own names may hold any characters."""
    for name, path in (("tls.crt", certificate.chain), ("tls.key", certificate.key)):
        if not path.is_file():
            raise GatewayError(f"there is no {shown(path)}, for TLS")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(path.resolve())


def make_temp(folder: Path) -> Path:
    """A folder that nginx's workers can reach, also as nobody; `folder`/tmp leads there."""
    remove_temp(folder)
    temp = Path(tempfile.mkdtemp(prefix="segmenter-gateway-"))
    temp.chmod(0o711)
    (folder / "tmp").symlink_to(temp)
    return temp


def remove_temp(folder: Path) -> None:
    link = folder / "tmp"
    if link.is_symlink():
        shutil.rmtree(link.resolve(), ignore_errors=True)
        link.unlink()
