"""The gateway's secrets: the token that it demands, and its certificate with the key."""

from __future__ import annotations

import base64
import os
import re
import secrets
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.common.terminal import UserError, last_line, shown

# Bytes of a token: nobody guesses 256 bits. In hex, as nginx's map ignores case: base64 would lose
# some of them.
TOKEN_BYTES = 32
CERTIFICATE_DAYS = 365
RENEW_SECONDS = 30 * 24 * 3600


class GatewayError(UserError):
    """The gateway cannot be started; one line that says why, and what to do."""


@dataclass(frozen=True)
class Certificate:
    """Two PEM files: the certificate with its chain, and its private key."""

    chain: Path
    key: Path


def token_of(folder: Path) -> str:
    """The gateway's token, made at its first start and kept in a file."""
    path = folder / "token"
    if not path.exists():
        write_secret(path, secrets.token_hex(TOKEN_BYTES) + "\n")
    return read_token(path, "remove it to get a new token")


def given_token(path: Path) -> str:
    """The token in a user's own file. Raises GatewayError where there is none."""
    return read_token(path, f"make one: openssl rand -hex {TOKEN_BYTES}")


def read_token(path: Path, remedy: str) -> str:
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayError(f"the token in {shown(path)} cannot be read: {error}") from None
    if not re.fullmatch(rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}", token):
        raise GatewayError(
            f"{shown(path)} does not hold {2 * TOKEN_BYTES} hexadecimal digits, a to f in lower "
            f"case; {remedy}"
        )
    return token


def credentials(token: str) -> str:
    """What nginx accepts as the token, as lines of a map: `"<scheme>:<text>" 1;`.

    Basic authentication sends base64 of <user>:<token>, where three bytes are four characters. So
    its end is one of three texts, depending on the length of the user's name: a group of three
    bytes begins with the token, with the colon, or with the name's last character. In the last case
    two characters of base64 do not depend on the token alone, and are left out.
    """
    beginnings = (token, f":{token}", f"?:{token}")
    encoded = [base64.b64encode(text.encode("ascii")).decode("ascii") for text in beginnings]
    texts = [f"bearer:{token}", *(f"basic:{text}" for text in (*encoded[:2], encoded[2][2:]))]
    return "".join(f'"{text}" 1;\n' for text in texts)


def write_secret(path: Path, text: str) -> None:
    """Write a file that no other user can read at any time."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def made_certificate(folder: Path) -> Certificate:
    """The paths of the certificate that the gateway in `folder` makes for itself."""
    return Certificate(folder / "certificate.pem", folder / "key.pem")


def own_certificate(folder: Path) -> Certificate:
    """A self-signed certificate for this machine, renewed a month before it expires."""
    own = made_certificate(folder)
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
        raise GatewayError(f"openssl failed to make a certificate: {last_line(made.stderr)}")
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
