"""Saturate the service for many minutes, and hold every answer against its own photo's.

    python -m scripts.soak --minutes 30 --photos folder

Drawn photos of many sizes and formats, and those of a folder, go to a service of its own in every
output, with requests that are to be refused in between. Meanwhile memory and threads are watched.
Exit status 1 where an answer is wrong, an error comes unasked, a worker dies or its memory grows.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import platform
import signal
import statistics
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
import requests
import torch
from tqdm import tqdm

from scripts.bench.hardware import processor
from scripts.common.terminal import ROOT, UserError, exit_status, say, shown
from scripts.launch.loopback import session
from scripts.launch.service import ARCHIVE, running_service
from scripts.launch.torchserve import Service
from scripts.stress.expected_responses import Question, drawn_photos, photos_in, questions
from scripts.stress.process_monitor import Sample, deaths, watched
from scripts.training.evaluate import in_process
from serving.runtime.device import usable_cores
from serving.runtime.loading import ArchiveError, ServedModel, load_model

# More clients than a batch (8): while one is computed the next is complete in the queue.
CLIENTS = 12
DRAWN_PHOTOS = 60

ANSWER_SECONDS = 120.0
SAMPLE_SECONDS = 1.0

# A worker's memory is compared between the five minutes after the first two, in which it has met
# the shapes and filled its caches, and the last five.
WARM_SECONDS, WINDOW_SECONDS = 120.0, 300.0
LARGEST_GROWTH = 0.02


@dataclass(frozen=True)
class Reply:
    kind: str
    seconds: float  # when it was there, since the soak began
    latency: float  # s
    fault: str  # empty where it is right


@dataclass(frozen=True)
class Result:
    """What a soak has shown; times in seconds unless named otherwise."""

    machine: dict[str, str]
    seconds: float
    clients: int
    photos: int
    replies: int
    per_second: float
    p50: float
    p99: float
    slowest: float
    by_kind: dict[str, int]
    wrong: int
    errors: int  # not those that were asked for
    faults: list[str]  # the first of them
    worker_deaths: int
    worker_growth: float | None  # None: too short to tell, or not one worker's
    worker_median_growth: float | None  # of the medians, which follow the load
    java_growth: float | None
    samples: list[Sample]

    def broken_bars(self) -> list[str]:
        bars = [
            (self.wrong == 0, f"{self.wrong} wrong answers"),
            (self.errors == 0, f"{self.errors} errors"),
            (self.worker_deaths == 0, f"{self.worker_deaths} workers died"),
            (
                self.worker_growth is None or self.worker_growth < LARGEST_GROWTH,
                f"the worker grew by {self.worker_growth or 0:.1%}; less than "
                f"{LARGEST_GROWTH:.0%} is the bar",
            ),
        ]
        return [said for is_met, said in bars if not is_met]


def soak(
    service: Service, asked: Sequence[Question], seconds: float, clients: int
) -> tuple[list[Reply], list[Sample], bool]:
    """What the clients got who asked without a pause, the processes meanwhile, and whether it went
    on to its end: Ctrl-C ends it early, and in order."""
    replies: list[Reply] = []
    over = threading.Event()
    began = time.monotonic()

    def client(first: int) -> None:
        with session() as http:
            for question in itertools.islice(itertools.cycle(asked), first, None, clients):
                if over.is_set():
                    return
                sent = time.monotonic()
                fault = fault_in(http, service.predictions, question)
                done = time.monotonic()
                replies.append(Reply(question.kind, done - began, done - sent, fault))

    with ThreadPoolExecutor(clients) as pool, watched(service.group, SAMPLE_SECONDS) as samples:
        running = [pool.submit(client, first) for first in range(clients)]
        try:
            show_progress(replies, seconds)
            finished = True
        except KeyboardInterrupt:
            finished = False
            say("stopping; what was measured follows")
        finally:
            over.set()
        for ended in running:
            ended.result()
    return replies, samples, finished


def fault_in(http: requests.Session, url: str, question: Question) -> str:
    """What is wrong with the answer to a question, "wrong: ..." or "error: ..."; empty: nothing."""
    try:
        answer = http.post(
            url + question.path,
            data=question.body,
            headers=question.headers,
            timeout=ANSWER_SECONDS,
        )
        if question.is_right(answer):
            return ""
    except requests.RequestException as error:
        return f"error: {question.kind}: {error}"
    except (ValueError, KeyError, TypeError, OSError) as error:  # it cannot be read
        return f"wrong: {question.kind}: {error}"
    kind = "error" if answer.status_code >= requests.codes.server_error else "wrong"
    return f"{kind}: {question.kind}: {answer.status_code} {answer.reason}"


def show_progress(replies: Sequence[Reply], seconds: float) -> None:
    """Return when the time is over."""
    began = time.monotonic()
    form = "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"
    with tqdm(total=seconds, bar_format=form, desc="soak") as bar:
        while (passed := time.monotonic() - began) < seconds:
            time.sleep(min(1.0, seconds - passed))
            faults = sum(bool(reply.fault) for reply in replies)
            bar.set_postfix(answers=len(replies), faults=faults, refresh=False)
            bar.update(min(time.monotonic() - began, seconds) - bar.n)


def result_of(
    replies: Sequence[Reply],
    samples: list[Sample],
    machine: dict[str, str],
    photos: int,
    clients: int,
) -> Result:
    if len(replies) < 2:
        raise UserError("the soak was too short for an answer")
    latencies = sorted(reply.latency for reply in replies)
    seconds = max(reply.seconds for reply in replies)
    faults = [reply.fault for reply in replies if reply.fault]
    kinds = [reply.kind for reply in replies]
    worker = [(sample.seconds, sample.worker_bytes) for sample in samples]
    return Result(
        machine=machine,
        seconds=seconds,
        clients=clients,
        photos=photos,
        replies=len(replies),
        per_second=len(replies) / seconds,
        p50=statistics.median(latencies),
        p99=statistics.quantiles(latencies, n=100, method="inclusive")[98],
        slowest=latencies[-1],
        by_kind={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        wrong=sum(fault.startswith("wrong") for fault in faults),
        errors=sum(fault.startswith("error") for fault in faults),
        faults=faults[:20],
        worker_deaths=deaths(samples),
        # Between two workers there is none, and a new one starts small: that is no growth.
        worker_growth=None if deaths(samples) else growth(worker),
        worker_median_growth=None if deaths(samples) else growth(worker, statistics.median),
        java_growth=growth([(sample.seconds, sample.java_bytes) for sample in samples]),
        samples=samples,
    )


def growth(
    samples: Sequence[tuple[float, int]], of: Callable[[Sequence[int]], float] = min
) -> float | None:
    """By which share of itself memory grew from the window after WARM_SECONDS to the last window.

    Of each window the least counts: what stays when a batch is done and the memory trimmed. What a
    batch takes meanwhile follows the load, twice that at full batches, and would pass for growth
    when the load rises. None where the two windows would overlap.
    """
    end = samples[-1][0]
    if end < WARM_SECONDS + 2 * WINDOW_SECONDS:
        return None
    first = [size for at, size in samples if 0 <= at - WARM_SECONDS < WINDOW_SECONDS]
    last = [size for at, size in samples if end - at < WINDOW_SECONDS]
    return of(last) / of(first) - 1


def machine(model: ServedModel) -> dict[str, str]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "TorchServe": version("torchserve"),
    }
    return {
        "date": date.today().isoformat(),
        "model": f"{model.preset.name}, {model.digest[:19]}",
        "processor": f"{processor()}, {usable_cores()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": gpu,
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def report(result: Result) -> str:
    """The result in Markdown."""
    first, last = result.samples[0], result.samples[-1]
    peak = max(sample.worker_bytes for sample in result.samples)

    def grown(share: float | None) -> str:
        return "too short to tell" if share is None else f"{share:+.1%}"

    def mib(size: int) -> str:
        return f"{size / 2**20:.0f} MiB"

    rows = [
        *result.machine.items(),
        ("duration", f"{result.seconds / 60:.1f} min, {result.clients} clients without a pause"),
        ("photos", f"{result.photos}, each in every output"),
        ("answers", f"{result.replies}, {result.per_second:.1f} a second"),
        (
            "latency",
            f"p50 {result.p50:.2f} s, p99 {result.p99:.2f} s, slowest {result.slowest:.2f} s",
        ),
        ("wrong answers", str(result.wrong)),
        ("errors not asked for", str(result.errors)),
        ("worker deaths", str(result.worker_deaths)),
        (
            "worker's memory",
            f"{mib(first.worker_bytes)} -> {mib(last.worker_bytes)}, peak {mib(peak)}; "
            f"after the first two minutes {grown(result.worker_growth)} at rest, "
            f"{grown(result.worker_median_growth)} in the median",
        ),
        (
            "Java's memory",
            f"{mib(first.java_bytes)} -> {mib(last.java_bytes)}; "
            f"after the first two minutes {grown(result.java_growth)}",
        ),
        ("worker's threads", f"{first.worker_threads} -> {last.worker_threads}"),
        ("Java's threads", f"{first.java_threads} -> {last.java_threads}"),
        ("by kind", ", ".join(f"{kind} {count}" for kind, count in result.by_kind.items())),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    broken = [f"- **{said}**" for said in result.broken_bars()]
    faults = [f"- {fault}" for fault in result.faults]
    return "\n".join([*lines, *(["", "Broken:", *broken] if broken else []), *faults])


def plot(result: Result, path: Path) -> None:
    """Memory and threads over the minutes, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [sample.seconds / 60 for sample in result.samples]
    figure, (memory, threads) = pyplot.subplots(
        2, sharex=True, figsize=(8, 5), height_ratios=(3, 1)
    )
    for label, name in (("worker", "worker_bytes"), ("Java", "java_bytes")):
        values = [getattr(sample, name) / 2**20 for sample in result.samples]
        memory.plot(minutes, values, label=label, linewidth=1)
    for name in ("worker_threads", "java_threads"):
        threads.plot(minutes, [getattr(sample, name) for sample in result.samples], linewidth=1)
    memory.set(ylabel="resident memory, MiB", ylim=(0, None))
    memory.legend(loc="lower right")
    threads.set(ylabel="threads", xlabel="minutes", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def write(result: Result, folder: Path) -> Path:
    """`folder`/soak.md and soak.png; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    plot(result, folder / "soak.png")
    text = folder / "soak.md"
    text.write_text(
        f"# Soak\n\nOutput of `make soak MINUTES={result.seconds / 60:.0f}` "
        "(scripts/stress/soak.py): every answer is held against its own photo's.\n\n"
        f"{report(result)}\n\n![Memory and threads over time](soak.png)\n",
        encoding="utf-8",
    )
    return text


def model_in(archive: Path) -> ServedModel:
    """The archive's network in this process, on the CPU."""
    if not zipfile.is_zipfile(archive):
        raise UserError(f"there is no archive {shown(archive)}; `make archive` builds it")
    with tempfile.TemporaryDirectory(prefix="soak-") as temp:
        with zipfile.ZipFile(archive) as file:
            file.extractall(temp)
        return load_model(Path(temp), torch.device("cpu"))


def run(options: argparse.Namespace) -> int:
    photos = drawn_photos(DRAWN_PHOTOS) + (photos_in(options.photos) if options.photos else [])
    model = model_in(options.archive)
    conditions = machine(model)
    predict = in_process(model.net, model.preset)
    asked = questions(tqdm(photos, desc="known answers", unit="photo"), predict)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as temp,
        running_service(options.archive, Path(temp)) as service,
    ):
        replies, samples, finished = soak(service, asked, 60 * options.minutes, CLIENTS)
    result = result_of(replies, samples, conditions, len(photos), CLIENTS)
    print(json.dumps(dataclasses.asdict(result), indent=2) if options.json else report(result))
    if not finished:
        return 128 + signal.SIGINT
    say(f"written to {shown(write(result, options.output))}")
    return 1 if result.broken_bars() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.soak", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=30, help="default: %(default)s")
    parser.add_argument("--photos", type=Path, help="a folder of photos beside those drawn")
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "soak", help="folder; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options), ArchiveError)


if __name__ == "__main__":
    sys.exit(main())
