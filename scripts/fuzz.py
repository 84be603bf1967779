"""Send hostile requests to a service started for it, and report what came back.

    python -m scripts.fuzz 10000
    python -m scripts.fuzz 10000 --gateway
    python -m scripts.fuzz --replay 4711

Request number N is the same in every run. The criteria that must be met are at the end of the
table; if one is not, the exit status is 1 and the failed requests are kept in build/fuzz/failed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.archive.latest import LATEST_ARCHIVE
from scripts.common.terminal import ROOT, exit_status, say, shown
from scripts.launch import gateway
from scripts.launch.gateway import Gateway
from scripts.launch.instance import Instance
from scripts.launch.lifecycle import running_instance
from scripts.launch.loopback import tiny_image
from scripts.launch.ports import HOST, free_ports
from scripts.stress.fuzz.campaign import GATEWAY_LIMITS, WARM_UP_REQUESTS, run_campaign
from scripts.stress.fuzz.connection import send
from scripts.stress.fuzz.hostile_requests import hostile_request
from scripts.stress.fuzz.report import description, outcome_table, save_failures, succeeded

FUZZ_FOLDER = ROOT / "build" / "fuzz"


@contextlib.contextmanager
def running_gateway(instance: Instance) -> Iterator[Gateway]:
    """A gateway in front of the service, on a free loopback port, while the block runs."""
    folder, port = FUZZ_FOLDER / "gateway", free_ports().inference
    try:
        yield gateway.start(
            folder,
            instance.ports.inference,
            tiny_image(),
            port,
            address=HOST,
            limits=GATEWAY_LIMITS,
        )
    finally:
        gateway.stop(folder)


def run(options: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        instance = stack.enter_context(running_instance(options.archive, FUZZ_FOLDER / "service"))
        front = stack.enter_context(running_gateway(instance)) if options.gateway else None
        if options.replay is not None:
            print(description(send(instance, hostile_request(options.replay), front)))
            return 0
        warm_up = min(WARM_UP_REQUESTS, options.inputs // 2)
        report = run_campaign(instance, range(options.inputs), front, warm_up)
    print(outcome_table(report), flush=True)
    if succeeded(report):
        return 0
    save_failures(report.outcomes, FUZZ_FOLDER / "failed")
    say(f"failed requests are in {shown(FUZZ_FOLDER / 'failed')}; --replay SEED sends one again")
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.fuzz", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("inputs", type=int, nargs="?", default=10_000, help="default: %(default)s")
    parser.add_argument("--replay", type=int, metavar="SEED", help="send only this request")
    parser.add_argument("--gateway", action="store_true", help="through nginx, as on a network")
    parser.add_argument("--archive", type=Path, default=LATEST_ARCHIVE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
