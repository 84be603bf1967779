"""Send hostile requests to a service started for it, and tell what became of it.

    python -m scripts.fuzz 10000
    python -m scripts.fuzz 10000 --gateway
    python -m scripts.fuzz --replay 4711

Input number N is the same in every run. The bars that must hold are at the end of the table; one
that does not ends the program with status 1, and its inputs are kept in build/fuzz/failed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from scripts.common.terminal import ROOT, UserError, exit_status, say, shown
from scripts.launch import gateway
from scripts.launch.gateway import ClientLimits, Gateway
from scripts.launch.loopback import tiny_image
from scripts.launch.ports import HOST, free_ports
from scripts.launch.service import ARCHIVE, running_service
from scripts.launch.torchserve import Service
from scripts.stress.hostile_requests import Input, hostile_request
from scripts.stress.hostile_requests import http as http_request
from scripts.stress.process_monitor import deaths, sample, watched
from serving.runtime.malloc import TRIM_SECONDS

FOLDER = ROOT / "build" / "fuzz"

# Clients at once: TorchServe's batch is full, and more are waiting.
CLIENTS = 12

# Inputs before memory is compared: each kind has been there often, and buffers have their size.
WARM_UP = 1000

# The bars. An answer that took longer counts as hung.
SLOWEST_SECONDS = 10.0
MEMORY_GROWTH = 0.05

# Seconds after which a client gives up, so that what hangs is counted and does not hang the run.
PATIENCE_SECONDS = 60.0
SAMPLE_SECONDS = 0.5
RECOVERY_SECONDS = 120.0
REST_SECONDS = 2 * TRIM_SECONDS

# The gateway's limits are not what is tried here. Half a request it waits for no longer than this.
LIMITS = ClientLimits(requests_per_second=10_000, burst=10_000, connections=1000, client_seconds=3)

CLOSED, HUNG = "closed", "hung"

MAX_METHOD = 16  # characters kept of a method; what is no HTTP may have no end to it


@dataclass(frozen=True)
class Outcome:
    """What came back. `ours`, whether the handler signed it, and not TorchServe's frontend."""

    input: Input
    status: int | str  # HTTP's, or CLOSED or HUNG
    ours: bool
    seconds: float
    body: bytes
    guarded: bool = False  # whether a gateway stands before TorchServe

    @property
    def column(self) -> str:
        if not isinstance(self.status, int) or self.ours:
            return str(self.status)
        return f"{self.status} {'gateway' if self.guarded else 'frontend'}"

    @property
    def fault(self) -> str | None:
        """Why this must not be; None where it may."""
        if self.status == HUNG:
            return f"no answer in {PATIENCE_SECONDS:.0f} s"
        if isinstance(self.status, int) and self.status >= 500 and not self.excused:
            return f"status {self.status}"
        if self.status == CLOSED and self.input.whole:
            return "closed without an answer"
        if (
            (self.ours or self.guarded)
            and isinstance(self.status, int)
            and self.status >= 400
            and method_of(self.input.request) != "HEAD"  # whose answer has no body
            and not is_error(self.body)
        ):
            return "an error that is not the service's JSON"
        return None

    @property
    def excused(self) -> bool:
        """Whether TorchServe's frontend itself failed on the request, and no worker had it.

        Netty throws on a form that is none, TorchServe on a path such as "*", and all that they
        throw is answered 500. No setting changes that; the gateway makes 4xx of it.
        """
        by_frontend = not self.ours and not self.guarded
        return by_frontend and self.status == 500 and b"InternalServerException" not in self.body


@dataclass(frozen=True)
class Report:
    """A finished run. Memory is the worker's resident set, in bytes."""

    outcomes: Sequence[Outcome]
    deaths: int
    memory_before: int
    memory_after: int

    @property
    def growth(self) -> float:
        return self.memory_after / self.memory_before - 1

    @property
    def faults(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.fault]

    @property
    def slowest(self) -> Outcome:
        answered = [outcome for outcome in self.outcomes if outcome.status != CLOSED]
        return max(answered or self.outcomes, key=lambda outcome: outcome.seconds)


def attack(
    service: Service,
    seeds: Sequence[int],
    front: Gateway | None = None,
    warm_up: int = WARM_UP,
    rest: float = REST_SECONDS,
) -> Report:
    """Send the inputs of the seeds, CLIENTS at once, and watch the worker meanwhile.

    They go through the gateway `front`, where there is one. Memory is compared after `warm_up`
    inputs and at the end, after `rest` seconds each.
    """
    with (
        watched(service.group, SAMPLE_SECONDS) as samples,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        try:
            outcomes: list[Outcome] = []
            before = 0
            for part in (seeds[:warm_up], seeds[warm_up:]):
                answers = clients.map(
                    lambda seed: without_weight(send(service, hostile_request(seed), front)), part
                )
                outcomes += tqdm(answers, total=len(part), unit="input", disable=None)
                memory = resting_memory(service, rest)
                before = before or memory
        except BaseException:
            clients.shutdown(wait=False, cancel_futures=True)
            raise
    return Report(outcomes, deaths(samples), before, memory)


def send(
    service: Service,
    hostile: Input,
    front: Gateway | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Outcome:
    """Put the request on the wire as it is, and read what comes back.

    A gateway is given its token as well: what it lets nobody send is not what is tried.
    """
    started = time.monotonic()
    status: int | str = CLOSED
    ours, body = False, b""
    try:
        with connected(front.port if front else service.ports.inference, front, patience) as wire:
            transmit(wire, authorized(hostile.request, front.token) if front else hostile.request)
            if not hostile.whole and front is None:  # TLS has no such half of a connection
                wire.shutdown(socket.SHUT_WR)  # an OSError where TorchServe has closed already
            answer = http.client.HTTPResponse(wire, method=method_of(hostile.request))
            answer.begin()
            body = answer.read()
            status, ours = answer.status, answer.headers["Model-Name"] is not None
    except TimeoutError:
        status = HUNG
    except (http.client.HTTPException, OSError):
        status = CLOSED
    return Outcome(hostile, status, ours, time.monotonic() - started, body, front is not None)


def transmit(wire: socket.socket, request: bytes) -> None:
    """Send it; what cannot be sent any more may have its answer already."""
    try:
        wire.sendall(request)
    except TimeoutError:
        raise
    except OSError:  # reset, or closed in the words of TLS
        return


def connected(port: int, front: Gateway | None, patience: float) -> socket.socket:
    """A connection to TorchServe's port, or to the gateway's, with TLS."""
    plain = socket.create_connection((HOST, port), timeout=patience)
    if front is None:
        return plain
    trusted = ssl.create_default_context(cafile=str(front.certificate))
    return trusted.wrap_socket(plain, server_hostname="localhost")


def authorized(request: bytes, token: str) -> bytes:
    """The request with the token behind its first line, if it has one."""
    first, end, rest = request.partition(b"\r\n")
    header = f"Authorization: Bearer {token}\r\n".encode("ascii")
    return first + end + header + rest if end else request


def without_weight(outcome: Outcome) -> Outcome:
    """The outcome less what nobody will look at: ten thousand requests are half a gigabyte."""
    if outcome.fault or outcome.seconds > SLOWEST_SECONDS:
        return outcome
    body = b"" if outcome.status == http.client.OK else outcome.body
    method = method_of(outcome.input.request)[:MAX_METHOD].encode("latin-1")
    return replace(outcome, input=replace(outcome.input, request=method), body=body)


def method_of(request: bytes) -> str:
    return request.partition(b" ")[0].decode("latin-1")


def is_error(body: bytes) -> bool:
    """Whether the body is {"error": {"code": ..., "message": ...}}, without anything of a trace."""
    try:
        error = json.loads(body)["error"]
        return {"code", "message"} <= error.keys() and b"Traceback" not in body
    except (ValueError, LookupError, AttributeError, TypeError):
        return False


@contextlib.contextmanager
def running_gateway(service: Service) -> Iterator[Gateway]:
    """A gateway before the service, on a free port of loopback, while the block runs."""
    folder, port = FOLDER / "gateway", free_ports().inference
    try:
        yield gateway.start(
            folder, service.ports.inference, tiny_image(), port, address=HOST, limits=LIMITS
        )
    finally:
        gateway.stop(folder)


def resting_memory(service: Service, seconds: float) -> int:
    """Bytes of the worker with nothing to do: the least of some seconds, for it trims now and then.

    It trims after a batch, so that it is sent honest requests meanwhile.
    """
    honest = Input(-1, "honest", http_request(tiny_image(), {}))
    deadline = time.monotonic() + RECOVERY_SECONDS
    while send(service, honest).status != http.client.OK:
        if time.monotonic() > deadline:
            raise UserError(f"the service no longer answers; its logs are in {shown(service.logs)}")
        time.sleep(SAMPLE_SECONDS)
    samples: list[int] = []
    rested = time.monotonic() + seconds
    while not samples or time.monotonic() < rested:
        send(service, honest)
        time.sleep(SAMPLE_SECONDS)
        found = sample(service.group)
        if found.workers:
            samples.append(found.worker_bytes)
    return min(samples)


def table(report: Report) -> str:
    """Inputs by kind and by status, and the bars."""
    counts = Counter((outcome.input.kind, outcome.column) for outcome in report.outcomes)
    kinds = sorted({kind for kind, _ in counts})
    columns = sorted({column for _, column in counts})
    width = max(map(len, kinds))
    lines = ["  ".join([f"{'':{width}}", *columns])]
    for kind in [*kinds, None]:
        cells = [sum(counts[k, column] for k in ([kind] if kind else kinds)) for column in columns]
        numbers = (f"{cell or '':>{len(column)}}" for cell, column in zip(cells, columns))
        lines.append("  ".join([f"{kind or 'all':{width}}", *numbers]))
    excused = sum(outcome.excused for outcome in report.outcomes)
    lines.append("")
    lines += [f"{'ok ' if held else 'BAD'}  {text}" for held, text in bars(report)]
    if excused:
        lines.append(f"     {excused} answers of 500 by TorchServe's frontend, before the handler")
    return "\n".join(lines)


def bars(report: Report) -> Iterable[tuple[bool, str]]:
    slowest = report.slowest
    yield report.deaths == 0, f"{report.deaths} deaths of the worker"
    yield not report.faults, f"{len(report.faults)} answers of 500 and above, broken or missing"
    yield (
        slowest.seconds <= SLOWEST_SECONDS,
        f"slowest answer {slowest.seconds:.1f} s, to input {slowest.input.seed} "
        f"({slowest.input.kind}); bar {SLOWEST_SECONDS:.0f} s",
    )
    yield (
        report.growth <= MEMORY_GROWTH,
        f"memory of the worker {report.memory_before / 1e6:.0f} -> "
        f"{report.memory_after / 1e6:.0f} MB, {report.growth:+.1%}; bar {MEMORY_GROWTH:.0%}",
    )


def keep(outcomes: Iterable[Outcome], folder: Path) -> None:
    """Write the requests to files that `nc` can send again, and what came back."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for outcome in outcomes:
        (folder / f"{outcome.input.seed}.request").write_bytes(outcome.input.request)
        (folder / f"{outcome.input.seed}.answer").write_bytes(
            f"{outcome.fault or 'slow'}: {outcome.status} in {outcome.seconds:.1f} s\n\n".encode()
            + outcome.body
        )


def replay(service: Service, seed: int, front: Gateway | None) -> None:
    """Send one input and print what it is and what came back."""
    outcome = send(service, hostile_request(seed), front)
    request = outcome.input.request
    print(f"{outcome.input.kind}, {len(request)} bytes: {request[:300]!r}")
    print(f"{outcome.column} in {outcome.seconds:.2f} s: {outcome.body[:1000]!r}")


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        service = stack.enter_context(running_service(options.archive, FOLDER / "service"))
        front = stack.enter_context(running_gateway(service)) if options.gateway else None
        if options.replay is not None:
            replay(service, options.replay, front)
            return 0
        warm_up = min(WARM_UP, options.inputs // 2)
        report = attack(service, range(options.inputs), front, warm_up)
    print(table(report), flush=True)
    if all(held for held, _ in bars(report)):
        return 0
    slow = [outcome for outcome in report.outcomes if outcome.seconds > SLOWEST_SECONDS]
    keep([*report.faults, *slow], FOLDER / "failed")
    say(f"the inputs are in {shown(FOLDER / 'failed')}; --replay SEED sends one again")
    return 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("inputs", type=int, nargs="?", default=10_000, help="default: %(default)s")
    parser.add_argument("--replay", type=int, metavar="SEED", help="send this input alone")
    parser.add_argument("--gateway", action="store_true", help="through nginx, as on a network")
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
