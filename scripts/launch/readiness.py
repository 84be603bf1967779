"""Readiness: whether an instance predicts yet, and if it never will, why."""

from __future__ import annotations

import re
import time

import requests

from scripts.common.terminal import last_line, say, shown
from scripts.launch.instance import Instance, LaunchError
from scripts.launch.loopback import session, tiny_image
from scripts.launch.process_groups import members
from serving.wire import MODEL_NAME

# Seconds. TorchServe gives a worker 120 to load its model (startupTimeout in model-config.yaml).
START_SECONDS = 300.0
RESPONSE_SECONDS = 60.0
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 5.0

# In ts_log.log: TorchServe is about to start a worker again.
WORKER_DIED = "Retry worker:"

# In model_log.log: what follows is a line that a worker printed.
WORKER_LINE = " MODEL_LOG - "

# Exceptions by which TorchServe reports another one, mostly an import that failed.
WRAPPED_EXCEPTION = r"RuntimeError: \d+ - |.*'ts\.torch_handler\."


def wait_until_ready(instance: Instance) -> None:
    """Return after the first prediction; raise LaunchError as soon as there will be none."""
    started = time.monotonic()
    said = 0.0
    while not worker_is_ready(instance):
        raise_if_failed(instance)
        seconds = time.monotonic() - started
        if seconds > START_SECONDS:
            raise LaunchError(
                f"no worker was ready after {START_SECONDS:.0f} s: {logs_of(instance)}"
            )
        if seconds > said + PROGRESS_SECONDS:
            said = seconds
            say(f"  {seconds:.0f} s: waiting for the worker to load the model")
        time.sleep(POLL_SECONDS)
    try:
        response = session().post(instance.predictions, data=tiny_image(), timeout=RESPONSE_SECONDS)
    except requests.RequestException as error:
        raise_if_failed(instance)
        raise LaunchError(f"the first prediction failed ({error}): {logs_of(instance)}") from error
    if response.status_code != requests.codes.ok:
        raise_if_failed(instance)
        raise LaunchError(
            f"the first prediction got status {response.status_code}: {logs_of(instance)}"
        )
    say(f"ready after {time.monotonic() - started:.1f} s: {instance.predictions}")


def worker_is_ready(instance: Instance) -> bool:
    """What the management API says; False while it does not listen yet or the worker loads."""
    try:
        response = session().get(
            f"{instance.management}/models/{MODEL_NAME}", timeout=RESPONSE_SECONDS
        )
    except requests.RequestException:
        return False
    if response.status_code != requests.codes.ok:  # it listens after it has read its archives
        raise LaunchError(f"TorchServe could not read the archive: {logs_of(instance)}")
    return any(worker["status"] == "READY" for worker in response.json()[0]["workers"])


def raise_if_failed(instance: Instance) -> None:
    """Raise LaunchError where a worker has died or TorchServe has ended: both would stay so."""
    if WORKER_DIED in instance.log("ts_log"):
        reason = last_exception(instance.log("model_log")) or "it ended without a message"
        raise LaunchError(f"the worker died: {reason} ({shown(instance.logs / 'model_log.log')})")
    if not members(instance.group):
        raise LaunchError(f"TorchServe ended: {last_words(instance)}")


def last_exception(log: str) -> str | None:
    """The line of the worker's log that names the exception it died of; None without one."""
    lines = [line.split(WORKER_LINE)[-1] for line in log.splitlines()]
    found = None
    in_traceback = False
    for line in lines:
        if line.startswith("Traceback "):
            in_traceback = True
        elif in_traceback and re.match(r"[A-Za-z_][\w.]*(: |$)", line):
            in_traceback = False
            if not re.match(WRAPPED_EXCEPTION, line):
                found = line
    return found


def last_words(instance: Instance) -> str:
    """The last line that TorchServe printed before it ended, and the files with all of them."""
    console = instance.folder / "console.log"
    printed = console.read_text("utf-8", "replace") if console.exists() else ""
    return f"{last_line(printed)} ({shown(console)}, {logs_of(instance)})"


def logs_of(instance: Instance) -> str:
    return f"see {shown(instance.logs)}"
