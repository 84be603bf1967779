"""Many images through one service: bounded concurrency, and an end where no image would succeed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from tqdm import tqdm

from segmenter_client.cli.concurrency import map_as_completed
from segmenter_client.cli.inputs import InputImage
from segmenter_client.cli.outputs import write_outputs
from segmenter_client.cli.summary import RunSummary
from segmenter_client.cli.summary_table import SummaryTable
from segmenter_client.errors import ErrorResponse, NoResponse, SegmenterError, Unreachable
from segmenter_client.model_card import ModelCard
from segmenter_client.retries import RETRIED_STATUSES
from segmenter_client.service import Service

# Statuses that do not depend on the image: no access, or no such address.
ACCESS_STATUSES: Final = (401, 403, 404, 405)

# Images in a row that got no response, or only "overloaded", after all retries: the service has a
# lasting problem then, not the image.
MAX_UNSERVED: Final = 8


class RunAborted(Exception):
    """The run cannot go on; the message says why."""


def model_of(service: Service) -> ModelCard:
    """The model that will segment the images. Raises RunAborted where there is none."""
    try:
        return service.model()
    except SegmenterError as error:
        raise RunAborted(failure_reason(error)) from error


def segment_images(
    images: Sequence[InputImage],
    service: Service,
    model: ModelCard,
    output_formats: Sequence[str],
    *,
    concurrency: int,
    summary: RunSummary,
    table: SummaryTable | None = None,
) -> None:
    """Write the outputs of all images, `concurrency` at a time, and count them in `summary`.

    Their classes go into the table. An image that fails does not stop the others. Raises
    RunAborted if the service cannot be reached, denies access, or has not served MAX_UNSERVED
    images in a row, after all retries.
    """
    unserved = 0
    write = partial(
        write_outputs,
        service=service,
        model=model,
        output_formats=output_formats,
        with_figures=table is not None,
    )
    with tqdm(total=len(images), desc="segmenting", unit="image", leave=False, disable=None) as bar:
        for image, future in map_as_completed(write, images, concurrency):
            try:
                outputs = future.result()
                summary.add(outputs)
                if table is not None:
                    table.add(image.name, outputs.classes)
                unserved = 0
            except (SegmenterError, OSError) as error:
                reason = failure_reason(error)
                summary.failures.append((image.name, reason))
                if table is not None:
                    table.fail(image.name, reason)
                bar.set_postfix(failed=len(summary.failures))
                unserved = unserved + 1 if is_unserved(error) else 0
                if is_final(error) or unserved == MAX_UNSERVED:
                    raise RunAborted(reason) from error
            bar.update()


def is_final(error: Exception) -> bool:
    """Whether every other image would fail in the same way."""
    is_denied = isinstance(error, ErrorResponse) and error.status in ACCESS_STATUSES
    return is_denied or isinstance(error, Unreachable)


def is_unserved(error: Exception) -> bool:
    """Whether the service gave no response, or was overloaded (as for too large an image)."""
    is_overloaded = isinstance(error, ErrorResponse) and error.status in RETRIED_STATUSES
    return is_overloaded or isinstance(error, NoResponse)


def failure_reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
