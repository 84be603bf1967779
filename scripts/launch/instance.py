"""An instance of the service on this machine: its folder, its addresses, its process group.

Everything that an instance writes is in build/service-<port>, so that several can run at once:

    archive.mar            leads to the archive that the instance serves, a file beside it
    config.properties      TorchServe's configuration, with this instance's ports
    console.log, logs/     of this run; logs.last/ of the one before
    gateway/               nginx's configuration, token, certificate and logs
    tmp/                   sockets and the unpacked archive, while the instance runs

Its processes are one process group: TorchServe's command line leads it, Java and the workers are
members, and a signal to the group reaches them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.common.terminal import ROOT, UserError
from scripts.launch.ports import HOST, Ports
from serving.wire import MODEL_NAME

DEFAULT_PORT = 8080


class LaunchError(UserError):
    """An instance cannot be started or changed; one line that says why, and what to do."""


@dataclass(frozen=True)
class Instance:
    """A running instance. `group` is the id of its process group."""

    folder: Path
    ports: Ports
    group: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports.inference}"

    @property
    def predictions(self) -> str:
        return f"{self.url}/predictions/{MODEL_NAME}"

    @property
    def management(self) -> str:
        return f"http://{HOST}:{self.ports.management}"

    @property
    def metrics(self) -> str:
        return f"http://{HOST}:{self.ports.metrics}/metrics"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def log(self, name: str) -> str:
        """The content of the log "ts_log", "model_log" or "access_log"; empty without the file."""
        path = self.logs / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""


def folder_for(port: int) -> Path:
    return ROOT / "build" / f"service-{port}"


def gateway_folder(folder: Path) -> Path:
    return folder / "gateway"
