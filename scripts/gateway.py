"""The gateway: nginx in front of TorchServe, with TLS, a token, limits and retries.

`python -m scripts.service start --gateway` starts it with the service, and `stop` drains it first;
so does `run --gateway` in the foreground.
What it does is in deploy/gateway/nginx.conf; here that is filled in, and nginx started and stopped.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.ports import HOST, free_neighbour, why_not
from scripts.processes import end_group, interrupts_deferred, members
from scripts.terminal import ROOT, UserError, say, shown

TEMPLATE = ROOT / "deploy" / "gateway" / "nginx.conf"
PROPERTIES = ROOT / "config.properties"

# From the inference port to that for HTTPS: 8080 -> 8443.
HTTPS_OFFSET = 363

# Every interface: a gateway is there to be reached. The tests keep to loopback.
ANY_ADDRESS = "0.0.0.0"

# Where Debian has it, which is on root's PATH only.
SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin"

# Seconds. A photo of 50 megapixels behind a full queue has its answer within the first.
DRAIN_SECONDS = 120
START_SECONDS = 20.0
POLL_SECONDS = 0.05

CERTIFICATE_DAYS = 365
RENEW_SECONDS = 30 * 24 * 3600

# Bytes of a token: nobody guesses 256 bits. In hex, so that nginx's map, to which upper and lower
# case are one, loses none of them.
TOKEN_BYTES = 32


class GatewayError(UserError):
    """The gateway cannot be started; one line that says why, and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one client address may take, and how long it may keep others waiting."""

    requests_per_second: int = 50
    burst: int = 100  # requests above that rate before the first is turned away
    connections: int = 16  # requests at once: half of TorchServe's queue
    client_seconds: int = 15  # between two pieces of a request or answer
    # For the tiny prediction behind /ready, which waits in the queue with all others: as long as
    # any prediction may (proxy_read_timeout), so that who answers in time is ready under load too.
    # A full queue, 8 running and 32 waiting, is 40 s at 1 s a photo.
    probe_seconds: int = 130


@dataclass(frozen=True)
class Gateway:
    """A running gateway: where it lives, where it answers, and how to know that it does."""

    folder: Path
    port: int
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def predictions(self) -> str:
        return f"{self.url}/predictions/segmenter"

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text("ascii").strip()

    @property
    def header(self) -> Path:
        """A file with the header that authorises, for `curl -H @file`."""
        return self.folder / "authorization"


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: the certificate with what leads to its root, and its key."""

    chain: Path
    key: Path


def start(
    folder: Path,
    torchserve: int,
    probe: bytes,
    port: int,
    *,
    address: str = ANY_ADDRESS,
    certificate: Certificate | None = None,
    limits: Limits | None = None,
) -> Gateway:
    """Serve HTTPS on `port` for the TorchServe on loopback's port `torchserve`.

    `probe` is the image, a file's bytes, whose prediction says that the service is ready. Without a
    `certificate` one is made that signs itself. Returns when nginx listens, whether TorchServe
    answers or not; raises GatewayError, and leaves no process behind, where it does not.
    """
    program = find_nginx()
    if master_of(folder) is not None:
        raise GatewayError(f"a gateway runs in {shown(folder)} already: `make stop` ends it")
    problem = why_not(port)
    if problem:
        raise GatewayError(
            f"port {port}, for HTTPS, {problem}; choose another one with --https-port, "
            f"for instance {free_neighbour(port)}"
        )
    certificate = prepare(folder, certificate)
    settings = {
        **{name.upper(): str(value) for name, value in vars(limits or Limits()).items()},
        "LISTEN": f"{address}:{port}",
        "TORCHSERVE": f"{HOST}:{torchserve}",
        "PROBE": base64.b64encode(probe).decode("ascii"),
        "MAX_BYTES": str(max_request_size()),
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
    }
    try:
        with interrupts_deferred():
            settings["TEMP"] = str(make_temp(folder))
            text = filled_in(TEMPLATE.read_text("utf-8"), settings)
            (folder / "nginx.conf").write_text(text, "utf-8")
            launch(program, folder)
    except BaseException:
        stop(folder)
        raise
    return Gateway(folder, port, certificate.chain)


def stop(folder: Path) -> bool:
    """Let the requests that run end, then the gateway; returns whether there was one.

    New connections are refused from the start.
    """
    master = master_of(folder)
    if master is not None:
        try:
            master.send_signal(signal.SIGQUIT)
            wait_for_end(master)
        finally:
            end_group(master.pid)
    remove_temp(folder)
    return master is not None


def how_to_call(gateway: Gateway) -> str:
    """For a terminal: the address, the token, and a line that works as it is printed."""
    # From a file, so that the token stays out of curl's arguments, which all users can read.
    return (
        f"gateway  {gateway.predictions}\n"
        f"token    {gateway.token}\n"
        "         in a browser it is the password, of any user\n"
        f"curl --cacert {shlex.quote(shown(gateway.certificate))} "
        f"-H @{shlex.quote(shown(gateway.header))} "
        f"-T photo.jpg {gateway.predictions} -o mask.png"
    )


def wait_for_end(master: psutil.Process) -> None:
    """Return when all of nginx has ended, or should have: it gives itself DRAIN_SECONDS."""
    deadline = time.monotonic() + DRAIN_SECONDS + START_SECONDS
    said = time.monotonic()
    while members(master.pid) and time.monotonic() < deadline:
        if time.monotonic() > said + START_SECONDS:
            said = time.monotonic()
            say("waiting for requests that run")
        time.sleep(POLL_SECONDS)


def prepare(folder: Path, certificate: Certificate | None) -> Certificate:
    """Make the gateway's folder, with the token and what nginx compares it with, and for TLS."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
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


def filled_in(template: str, values: dict[str, str]) -> str:
    """The template with a value for every %NAME%; KeyError for one that has none."""
    return re.sub(r"%([A-Z_]+)%", lambda match: values[match[1]], template)


def link_certificate(folder: Path, certificate: Certificate) -> None:
    """Lead nginx's names for the two files to them, whatever characters their own names hold."""
    for name, path in (("tls.crt", certificate.chain), ("tls.key", certificate.key)):
        if not path.is_file():
            raise GatewayError(f"there is no {shown(path)}, for TLS")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(path.resolve())


def max_request_size() -> int:
    """Bytes that TorchServe takes in a request."""
    found = re.search(r"^max_request_size=(\d+)$", PROPERTIES.read_text("ascii"), re.MULTILINE)
    if found is None:
        raise GatewayError(f"{shown(PROPERTIES)} names no max_request_size")
    return int(found[1])


def token_of(folder: Path) -> str:
    """The gateway's token, made at its first start and kept; without the file a new one is made."""
    path = folder / "token"
    if not path.exists():
        write_secret(path, secrets.token_hex(TOKEN_BYTES) + "\n")
    token = path.read_text("ascii").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}", token):
        raise GatewayError(
            f"{shown(path)} does not hold {2 * TOKEN_BYTES} hexadecimal digits; "
            "remove it, and a new token is made"
        )
    return token


def credentials(token: str) -> str:
    """What nginx takes for the token, as lines of a map: `"<form>:<text>" 1;`.

    In base64, three bytes are four characters. So <user>:<token> ends in one of three texts, by the
    user's length: a group of three begins with the token, with the colon, or with the user's last
    character. In the last case two characters of base64 are not the token's alone, and left out.
    """
    beginnings = (token, f":{token}", f"?:{token}")
    encoded = [base64.b64encode(text.encode("ascii")).decode("ascii") for text in beginnings]
    texts = [f"bearer:{token}", *(f"basic:{text}" for text in (*encoded[:2], encoded[2][2:]))]
    return "".join(f'"{text}" 1;\n' for text in texts)


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody else may read, at no time."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def own_certificate(folder: Path) -> Certificate:
    """A certificate for this machine that signs itself, made anew a month before it ends."""
    own = Certificate(folder / "certificate.pem", folder / "key.pem")
    if own.chain.exists() and own.key.exists():
        check = ["x509", "-checkend", str(RENEW_SECONDS), "-noout", "-in", str(own.chain)]
        if openssl(check).returncode == 0:
            return own
    names = ["DNS:localhost", f"DNS:{socket.gethostname()}", "IP:127.0.0.1", "IP:::1"]
    made = openssl(
        [
            *("req", "-x509", "-nodes", "-days", str(CERTIFICATE_DAYS)),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=localhost", "-addext", f"subjectAltName={','.join(names)}"),
            *("-keyout", str(own.key), "-out", str(own.chain)),
        ]
    )
    if made.returncode != 0:
        raise GatewayError(f"openssl makes no certificate: {last_line(made.stderr)}")
    return own


def openssl(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["openssl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise GatewayError(
            "openssl, which makes a certificate, is missing: install it, "
            "or give your own with --certificate and --key"
        ) from None


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


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "without a word"
