"""The application on Ray Serve: replicas of the archive's service, on every node with room."""

# No `from __future__ import annotations`: Ray Serve reads the type of the builder's argument.

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt
from ray import serve
from starlette.applications import Starlette

from cluster.archive import import_from, unpack

NAME = "segmenter"

# Seconds. A batch may take responseTimeout in model-config.yaml, 120: a replica that is stopped or
# checked gets that and some more.
LONGEST_BATCH = 130

# Seconds between two golden images. One takes as long as a photo, so that is its share of the
# replica's time. Ray notices at once where a replica's process ends.
CHECK_PERIOD = 60

# Requests that a replica takes in: those of its queue and its batch, 40, and those whose body or
# response is on its way. With bodies of 48 MiB they are 3 GiB. A response may be larger: one of an
# image has up to 200 MB, and stays until its client has read it.
MAX_IN_FLIGHT = 64

# Requests in flight for each replica above which there should be one more: half a batch.
TARGET_IN_FLIGHT = 4


class Settings(BaseModel):
    """What a deployment is made of. Any change of it replaces the replicas one after the other."""

    model_config = ConfigDict(extra="forbid")

    archive: str  # path, the same on every node
    digest: str  # the archive's SHA-256, 64 hexadecimal digits
    store: str  # folder for unpacked archives, on every node
    cpus: PositiveInt = 1  # of each replica
    gpus: int = 0  # of each replica: 0 or 1
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 1


@serve.deployment(
    name=NAME,
    max_ongoing_requests=MAX_IN_FLIGHT,
    max_queued_requests=MAX_IN_FLIGHT,
    health_check_period_s=CHECK_PERIOD,
    health_check_timeout_s=LONGEST_BATCH,
    graceful_shutdown_timeout_s=LONGEST_BATCH,
    graceful_shutdown_wait_loop_s=1,
)
@serve.ingress()
class Replica:
    """One process with the model on its GPU, or on its share of the cores."""

    def __init__(self, settings: Settings) -> None:
        archive = unpack(Path(settings.archive), settings.digest, Path(settings.store))
        import_from(archive.folder)
        # From here on the archive's own code is imported.
        from cluster.metrics import Metrics
        from cluster.worker import Worker
        from serving.runtime.device import pick_device, share_cores
        from serving.runtime.malloc import limit_heap_growth

        limit_heap_growth()
        device = pick_device(0 if settings.gpus else None)  # Ray shows it no other GPU
        self.worker = Worker(archive, device, share_cores(workers=1), Metrics().record)

    def __serve_build_asgi_app__(self) -> Starlette:
        from cluster.front import build_front

        return build_front(self.worker)

    async def check_health(self) -> None:
        """Raises where the model does not reproduce the golden image; Ray then replaces us."""
        await self.worker.check()


def app(settings: Settings) -> serve.Application:
    """The application, for `serve deploy` and for `python -m cluster deploy`."""
    deployment: serve.Deployment = Replica  # which the decorator has made of the class
    return deployment.options(
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": TARGET_IN_FLIGHT,
        },
    ).bind(settings)
