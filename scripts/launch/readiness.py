"""Whether an instance of TorchServe answers yet; and where it never will, why."""

from __future__ import annotations

import re
import time

import requests

from scripts.common.terminal import last_line, say, shown
from scripts.launch.loopback import session, tiny_image
from scripts.launch.process_groups import members
from scripts.launch.torchserve import MODEL_NAME, Service, ServiceError

# Seconds. TorchServe gives a worker 120 to load its model (startupTimeout in model-config.yaml).
START_SECONDS = 300.0
FIRST_ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 5.0


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
    printed = console.read_text("utf-8", "replace") if console.exists() else ""
    return f"{last_line(printed)} ({shown(console)}, {logs_of(service)})"


def logs_of(service: Service) -> str:
    return f"see {shown(service.logs)}"
