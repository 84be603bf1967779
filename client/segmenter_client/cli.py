"""Segment images by a running service: files, folders, globs, or one image from stdin.

    python -m scripts.segment photo.jpg
    python -m scripts.segment --recursive photos --as mask,overlay --output segmented
    find photos -name '*.jpg' | python -m scripts.segment --list -
    python -m scripts.segment - < photo.jpg > mask.png

Run again, it goes on where it was stopped: what is there is not made anew. Exit status: 0 all done,
1 some failed, 2 asked wrongly, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import stat
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import urllib3
from PIL import Image
from tqdm import tqdm

from segmenter_client import AnswerError, NoAnswer, SegmenterError, Service, Unreachable
from segmenter_client.errors import AnsweredError
from segmenter_client.half_blocks import half_blocks
from segmenter_client.inputs import Job, find_jobs, printable
from segmenter_client.service import TRY_AGAIN
from segmenter_client.terminal import UserError, say
from segmenter_client.window import in_window

URL = "http://127.0.0.1:8080/predictions/segmenter"
TOKEN = "SEGMENTER_TOKEN"  # environment variable: an argument can be seen by all users, in ps

# Outputs by name, and what is added to the name of the image's file.
SUFFIXES = {
    "mask": ".mask.png",
    "overlay": ".overlay.jpg",
    "json": ".json",
    "confidence": ".confidence.png",
    "npy": ".npy",
    "coco": ".coco.json",
    "coco-polygons": ".coco-polygons.json",
    "geojson": ".geojson",
    "labelstudio": ".labelstudio.json",
    "cvat": ".cvat.json",
}
PICTURES = ("mask", "overlay", "confidence")

# Bytes of a file that is read at all: max_request_size in config.properties. With it, memory is
# bounded by the number of requests at a time.
MAX_BYTES = 48 << 20

# Statuses that say nothing of the image: every other one would get them, too.
NOT_THE_IMAGE = (401, 403, 404, 405)

# Images in a row that got no answer, or none but that there is no time for them, after all retries:
# then it is not the image.
TURNED_AWAY = 8


@dataclass(frozen=True)
class Found:
    """What came of one image: the answers by name, and pixels by class label.

    No pixels are known where neither mask, npy nor json was asked for.
    """

    answers: dict[str, bytes]
    pixels: Counter[str] = field(default_factory=Counter)


@dataclass
class Tally:
    """What came of all images so far."""

    segmented: int = 0
    skipped: int = 0
    pixels: Counter[str] = field(default_factory=Counter)  # by class label
    images: Counter[str] = field(default_factory=Counter)  # that hold the class
    failures: list[tuple[Path, str]] = field(default_factory=list)

    def note(self, found: Found | None) -> None:
        """None stands for an image that was done already."""
        if found is None:
            self.skipped += 1
            return
        self.segmented += 1
        self.pixels.update(found.pixels)
        self.images.update(found.pixels.keys())


class Stopped(Exception):
    """The run cannot go on; `__cause__` is why."""


def run(
    jobs: Sequence[Job], service: Service, outputs: Sequence[str], concurrency: int, tally: Tally
) -> None:
    """Segment all images, `concurrency` at a time, and enter them into `tally`.

    Raises Stopped when the service cannot be reached, does not let us in, or has turned away or not
    answered TURNED_AWAY images in a row, each as often as was allowed.
    """
    turned_away = 0
    work = partial(segment_file, service=service, outputs=outputs)
    with tqdm(total=len(jobs), desc="segmenting", unit="image", leave=False, disable=None) as bar:
        for job, future in in_window(work, jobs, concurrency):
            try:
                tally.note(future.result())
                turned_away = 0
            except (SegmenterError, OSError) as error:
                tally.failures.append((job.source, why(error)))
                bar.set_postfix(failed=len(tally.failures))
                turned_away = turned_away + 1 if is_busy(error) else 0
                if is_final(error) or turned_away == TURNED_AWAY:
                    raise Stopped from error
            bar.update()


def segment_file(job: Job, service: Service, outputs: Sequence[str]) -> Found | None:
    """Write those outputs of an image that are not there; None where all are.

    A file appears under its name when it is complete. Raises SegmenterError or OSError.
    """
    targets = {name: job.target.with_name(job.target.name + SUFFIXES[name]) for name in outputs}
    missing = [name for name, target in targets.items() if not target.exists()]
    if not missing:
        return None
    found = ask(service, read(job.source), missing)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    for name, answer in found.answers.items():
        # Always the same name: what a killed run left half written is overwritten by the next.
        part = targets[name].with_name(targets[name].name + ".part")
        part.write_bytes(answer)
        os.replace(part, targets[name])
    return found


def read(path: Path) -> bytes:
    """An image file's bytes. Raises OSError, also for what is no file or too large to be sent."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a file")
    if status.st_size > MAX_BYTES:
        raise OSError(f"{status.st_size} bytes; a request holds at most {MAX_BYTES}")
    return path.read_bytes()


def ask(service: Service, image: bytes, outputs: Sequence[str]) -> Found:
    """The outputs of an image, in as few requests as they take. Raises SegmenterError.

    Mask and array are asked for as `kserve`: the same PNG, and the labels of its classes with it.
    """
    found = Found({})
    if "json" in outputs:
        found.answers["json"] = answer = service.ask(image, "json")
        with understood(answer):
            found.pixels.update(
                {entry["label"]: entry["pixels"] for entry in json.loads(answer)["classes"]}
            )
    if "mask" in outputs or "npy" in outputs:
        answer = service.ask(image, "kserve")
        with understood(answer):
            (prediction,) = json.loads(answer)["predictions"]
            png = base64.b64decode(prediction["mask"]["b64"])
            mask = np.asarray(Image.open(io.BytesIO(png)))
            counts = np.bincount(mask.ravel())
            if not found.pixels:
                found.pixels.update(
                    {entry["label"]: int(counts[entry["id"]]) for entry in prediction["classes"]}
                )
        if "mask" in outputs:
            found.answers["mask"] = png
        if "npy" in outputs:
            # As the service has it: 16 bits of a PNG are int32 there.
            found.answers["npy"] = npy(mask if mask.dtype == np.uint8 else mask.astype(np.int32))
    for name in outputs:
        if name not in found.answers:
            found.answers[name] = service.ask(image, name)
    return found


@contextlib.contextmanager
def understood(answer: bytes) -> Iterator[None]:
    """AnswerError for whatever goes wrong on reading the answer."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        raise AnswerError(f"not an answer of the service: {answer[:60]!r}") from error


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def is_final(error: Exception) -> bool:
    """Whether no other image would fare better."""
    refused = isinstance(error, AnsweredError) and error.status in NOT_THE_IMAGE
    return refused or isinstance(error, Unreachable)


def is_busy(error: Exception) -> bool:
    """Whether the service had no time, no room (for too large an image it never has), no answer."""
    turned_away = isinstance(error, AnsweredError) and error.status in TRY_AGAIN
    return turned_away or isinstance(error, NoAnswer)


def why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder, by a lock that ends with this process, even killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot write to {printable(folder)}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another run is writing to {printable(folder)}") from None
    else:
        yield
    finally:
        os.close(handle)


def report(tally: Tally, num_jobs: int) -> None:
    """Classes on stdout; what failed, and the sums, on stderr."""
    total = sum(tally.pixels.values())
    if total:
        print("  share  images  class")
        for label, pixels in tally.pixels.most_common():
            print(f"{pixels / total:7.1%}  {tally.images[label]:6}  {label}")
    for path, reason in tally.failures:
        say(f"failed: {printable(path)}: {reason}")
    left = num_jobs - tally.segmented - tally.skipped - len(tally.failures)
    parts = {
        "segmented": tally.segmented,
        "already done": tally.skipped,
        "failed": len(tally.failures),
        "not finished": left,
    }
    say(", ".join(f"{number} {what}" for what, number in parts.items() if number))


def show(picture: bytes) -> None:
    """In the terminal, if there is one and it may be coloured (https://no-color.org)."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        columns, lines = shutil.get_terminal_size()
        print(half_blocks(Image.open(io.BytesIO(picture)), columns, max(1, lines - 2)))


def segment_stdin(service: Service, outputs: Sequence[str]) -> int:
    """An image from stdin, its answer to stdout."""
    (output,) = outputs
    image = sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        if len(image) > MAX_BYTES:
            raise OSError(f"over {MAX_BYTES} bytes, more than a request holds")
        answer = ask(service, image, outputs).answers[output]
    except (SegmenterError, OSError) as error:
        say(f"failed: stdin: {why(error)}")
        return 1
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    elif output in PICTURES:
        show(answer)
    elif output != "npy":
        print(answer.decode())
    else:
        say("not written: an array is nothing for a terminal; send it to a file with >")
        return 2
    return 0


def segment_files(service: Service, options: argparse.Namespace) -> int:
    names = [*options.images, *(listed(options.list) if options.list else [])]
    jobs = find_jobs(names, options.output, options.recursive, tuple(SUFFIXES.values()))
    if not jobs:
        raise UserError("no images there; --recursive looks into folders of folders")
    tally, status = Tally(), 0
    with alone_in(options.output):
        try:
            run(jobs, service, options.outputs, options.concurrency, tally)
        except Stopped as stopped:
            say(f"stopped: {stopped.__cause__}")
        except KeyboardInterrupt:
            say("stopped; the same command goes on from here")
            status = 128 + signal.SIGINT
        report(tally, len(jobs))
        pictures = [name for name in PICTURES if name in options.outputs]
        if len(jobs) == 1 and pictures and not tally.failures and not status:
            target = jobs[0].target
            show(target.with_name(target.name + SUFFIXES[pictures[0]]).read_bytes())
    return status or int(bool(tally.failures))


def listed(source: str) -> list[str]:
    """The paths in a file, or on stdin for "-", one a line, in any bytes."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {printable(source)}: {error.strerror}") from error
    return [os.fsdecode(line) for line in data.split(b"\n") if line]


def output_names(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in SUFFIXES:
            raise argparse.ArgumentTypeError(
                f"there is no output {name!r}; there are {', '.join(SUFFIXES)}"
            )
    return names


def address(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not like {URL}")
    return text


def count(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} on")
    return int(text)


def certificate(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no certificate {printable(text)}")
    return Path(text)


def add_access(parser: argparse.ArgumentParser) -> None:
    """What a gateway asks for, and whom to believe that it is one; for `connect`."""
    parser.add_argument("--token", help=f"the gateway's; better in the environment, as {TOKEN}")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--cacert", type=certificate, help="trust this certificate (PEM)")
    trust.add_argument("--insecure", action="store_true", help="trust any certificate")


def connect(options: argparse.Namespace, **settings: int) -> Service:
    """The service at `options.url`, for `options.concurrency` threads; `settings` are Service's."""
    if options.insecure:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return Service(
        options.url,
        token=options.token or os.environ.get(TOKEN) or None,
        verify=options.cacert or not options.insecure,
        connections=options.concurrency,
        **settings,
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    about, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.segment",
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="*", help="files, folders, globs; or - for stdin")
    parser.add_argument("--list", metavar="FILE", help="more of them, one a line; - for stdin")
    parser.add_argument("--recursive", action="store_true", help="folders in folders, too")
    parser.add_argument(
        "--as",
        dest="outputs",
        type=output_names,
        default=["mask"],
        metavar="NAMES",
        help=f"of {','.join(SUFFIXES)}; several with commas (default: mask)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("segmented"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--url", type=address, default=URL, help="default: %(default)s")
    add_access(parser)
    parser.add_argument(
        "--concurrency",
        type=partial(count, least=1),
        default=8,
        metavar="N",
        help="requests at a time (default: 8)",
    )
    parser.add_argument(
        "--retries",
        type=partial(count, least=0),
        default=6,
        metavar="N",
        help="of a request that finds the service away or busy (default: 6, in a minute)",
    )
    options = parser.parse_args(arguments)
    if not options.images and not options.list:
        parser.error("name images, folders, or - for stdin")
    if "-" in options.images and (len(options.images) > 1 or options.list):
        parser.error("- is an image on stdin, alone")
    if "-" in options.images and len(options.outputs) > 1:
        parser.error("of an image on stdin there is one output, on stdout")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    service = connect(options, retries=options.retries)
    try:
        if options.images == ["-"]:
            return segment_stdin(service, options.outputs)
        return segment_files(service, options)
    except UserError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    if threading.active_count() > 1:
        os._exit(status)  # a stopped run: nobody waits for the requests that are under way
    sys.exit(status)
