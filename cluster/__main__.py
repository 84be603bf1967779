"""Deploy the service to the Ray cluster that RAY_ADDRESS names, or take it down.

python -m cluster deploy --archive build/segmenter.mar --port 8080
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import ray
from ray import serve

from cluster.application import NAME, Settings, app
from cluster.archive import ClusterArchiveError, digest_of


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description=str(__doc__).split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("shutdown", help="requests in flight get their responses first")
    deploy = commands.add_parser("deploy")
    deploy.add_argument("--archive", type=Path, required=True, help="the same path on every node")
    deploy.add_argument(
        "--store", type=Path, required=True, help="folder for unpacked archives, on every node"
    )
    deploy.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    deploy.add_argument("--port", type=int, default=8080, help="default: %(default)s")
    deploy.add_argument("--cpus", type=int, default=1, help="of each replica")
    deploy.add_argument("--gpus", type=int, default=0, choices=(0, 1), help="of each replica")
    deploy.add_argument("--min-replicas", type=int, default=1)
    deploy.add_argument("--max-replicas", type=int, default=1)
    return parser.parse_args(arguments)


def deploy(options: argparse.Namespace) -> None:
    """Returns when a replica serves. Raises ClusterArchiveError, and RuntimeError with its reason
    where none can."""
    archive = options.archive.resolve()
    settings = Settings(
        archive=str(archive),
        digest=digest_of(archive),
        store=str(options.store.resolve()),
        cpus=options.cpus,
        gpus=options.gpus,
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
    )
    serve.start(
        proxy_location="EveryNode", http_options={"host": options.host, "port": options.port}
    )
    serve.run(app(settings), name=NAME, route_prefix="/")


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    ray.init(address="auto", namespace="serve", log_to_driver=False, logging_level="WARNING")
    try:
        if options.command == "shutdown":
            serve.delete(NAME)  # first: the proxies go on until the replicas have responded
            serve.shutdown()
        else:
            deploy(options)
    except (ClusterArchiveError, RuntimeError) as error:
        messages = replica_messages() if isinstance(error, RuntimeError) else []
        print(*messages, f"error: {reason(error, messages)}", sep="\n", file=sys.stderr)
        return 1
    return 0


def reason(error: Exception, messages: list[str]) -> str:
    """Why no replica serves, in one line: what its process raised, if it came so far."""
    return messages[-1].strip().splitlines()[-1] if messages else str(error)


def replica_messages() -> list[str]:
    """What Ray Serve says of the application's replicas, a traceback at their end."""
    application = serve.status().applications.get(NAME)
    deployments = application.deployments.values() if application else ()
    return [deployment.message for deployment in deployments if deployment.message.strip()]


if __name__ == "__main__":
    sys.exit(main())
