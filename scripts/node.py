"""Make this machine a node of a Ray cluster, or have its cluster serve an archive.

python -m scripts.node head
python -m scripts.node join 10.0.0.1
python -m scripts.node deploy --archive build/segmenter.mar --replicas 4
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.archive.latest import LATEST_ARCHIVE
from scripts.common.terminal import exit_status
from scripts.launch.instance import DEFAULT_PORT
from scripts.launch.ray_cluster import deploy_to_cluster, run_head, run_joined
from scripts.launch.ray_node import HEAD_PORT, cores, gpus


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.node", description=__doc__.split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    head = commands.add_parser("head", help="be the first node, until Ctrl-C")
    join = commands.add_parser("join", help="be another node, until Ctrl-C")
    join.add_argument("head", help="the head's address, or address:port")
    deploy = commands.add_parser("deploy", help="on the head")
    deploy.add_argument("--archive", type=Path, default=LATEST_ARCHIVE)
    deploy.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    deploy.add_argument("--replicas", type=int, default=1, help="at most; default: %(default)s")
    deploy.add_argument("--cpus", type=int, default=cores(), help="of each; default: %(default)s")
    deploy.add_argument("--gpus", type=int, choices=(0, 1), default=gpus(), help="of each")
    for command in (head, deploy):
        command.add_argument(
            "--head-port", type=int, default=HEAD_PORT, help="default: %(default)s"
        )
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    if options.command == "head":
        run_head(options.head_port)
    elif options.command == "join":
        run_joined(options.head)
    else:
        deploy_to_cluster(
            options.archive,
            options.port,
            options.replicas,
            options.cpus,
            options.gpus,
            options.head_port,
        )
    return 0


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    return exit_status(lambda: execute(options))


if __name__ == "__main__":
    sys.exit(main())
