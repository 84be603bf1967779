"""Time the service against the plain ways of doing the same, all in one run on this machine.

    python -m scripts.benchmark [--photo FILE] [--json FILE]

Contenders take turns, so that what else the machine does meets all of them alike; figures are
medians. The network is the preset's with random weights, the same for all: speed does not depend on
them. The mask is timed on logits like a trained network's, since there speed does depend on them.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import requests
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv
from tqdm import tqdm
from ts.context import Context, RequestProcessor

from handler import SegmentationHandler
from imaging import decode_image, fit_size, resize
from imaging.export.png import mask_png
from imaging.export.summary import class_summaries
from imaging.mask.class_mask import class_mask, class_mask_and_confidence, class_mask_plain
from model import optimize_for_inference
from model.optimize.inference import fast_precision
from model.preset import Preset, PresetError, load_preset, voc_palette
from scripts.archive.build import WEIGHTS_FILE, build_archive, untrained
from scripts.archive.checkpoint import CheckpointError
from scripts.bench.baselines import torchvision_network
from scripts.bench.hardware import processor
from scripts.common.street import draw_street
from scripts.common.terminal import exit_status
from scripts.launch.loopback import session
from scripts.launch.service import running_service
from scripts.launch.torchserve import MODEL_NAME

Task = Callable[[], object]

ROUNDS = 7  # of each contender; a median of seven is not moved by two bad ones
GEMM_SIDE = 4096  # of the square product that the arithmetic rate is measured with
SIZES = {"0.3 MP": (491, 640), "2 MP": (1080, 1920), "12 MP": (3000, 4000)}  # (H, W)
CLIENTS = (1, 2, 4, 8)
EACH, CLIENT_ROUNDS = 3, 3  # photos of each client in a turn, and turns: a median of three turns


@dataclass(frozen=True)
class Figure:
    """What one contender took. `ratio` is how many times as long the section's first one took."""

    section: str
    contender: str
    milliseconds: float
    ratio: float


def compare(section: str, tasks: Mapping[str, Task], rounds: int = ROUNDS) -> list[Figure]:
    """The median time of each task, taking turns; the first is what the others are compared to."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()  # warm-up: allocations, packed weights, choices made on a first call
    for _ in tqdm(range(rounds), section, leave=False, unit="round"):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(seconds) * 1e3 for name, seconds in times.items()}
    first = next(iter(medians.values()))
    return [Figure(section, name, ms, first / ms) for name, ms in medians.items()]


def forward_figures(preset: Preset, state: dict[str, Tensor], rounds: int) -> Iterator[Figure]:
    """The network alone, photo to logits, at the recipe's size."""
    side = preset.short_side
    image = torch.randn(1, 3, side, side)
    plain = torchvision_network(preset, state)
    half = torchvision_network(preset, state).bfloat16().to(memory_format=torch.channels_last)
    half_image = image.bfloat16().to(memory_format=torch.channels_last)
    served = untrained(preset)
    served.load_state_dict(state)
    tasks: dict[str, Task] = {
        "torchvision, eager fp32": partial(plain, image),
        "torchvision, eager bf16, channels_last": partial(half, half_image),
        "ours, fp32": partial(optimize_for_inference(served, "cpu", "fp32"), image),
        f"ours, {fast_precision(torch.device('cpu'))} (auto)": partial(
            optimize_for_inference(served, "cpu"), image
        ),
    }
    if find_spec("openvino"):
        tasks |= openvino_tasks(plain, image)
    with torch.inference_mode():
        yield from compare(f"forward, {preset.backbone}, {side}x{side}", tasks, rounds)


def openvino_tasks(net: nn.Module, image: Tensor) -> dict[str, Task]:
    """The same network compiled by OpenVINO, which is not among our requirements."""
    import openvino  # type: ignore[import-not-found, unused-ignore]

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.net(x)["out"]
            return logits

    converted = openvino.convert_model(Logits().eval(), example_input=image)
    threads = torch.get_num_threads()
    tasks: dict[str, Task] = {}
    for precision in ("f32", "bf16"):
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.compile_model(converted, "CPU", hints)
        tasks[f"OpenVINO, {precision}"] = partial(compiled, image.numpy())
    return tasks


def product_figures(rounds: int) -> Iterator[Figure]:
    """How fast this machine multiplies: the rate that bounds every forward, TFLOP/s in the name."""
    operations = 2 * GEMM_SIDE**3
    a = torch.randn(GEMM_SIDE, GEMM_SIDE)
    tasks: dict[str, Task] = {
        str(dtype).split(".")[1]: partial(torch.mm, a.to(dtype), a.to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    for figure in compare(f"product of {GEMM_SIDE}x{GEMM_SIDE}", tasks, rounds):
        rate = operations / figure.milliseconds / 1e9
        yield replace(figure, contender=f"{figure.contender}: {rate:.2f} TFLOP/s")


def mask_figures(rounds: int) -> Iterator[Figure]:
    """Logits to class ids at three sizes of photo."""
    logits = trained_like_logits(21, 65, 87)
    for name, size in SIZES.items():
        tasks: dict[str, Task] = {
            "interpolate, argmax": partial(class_mask_plain, logits, size),
            "ours": partial(class_mask, logits, size),
            "ours, with confidence": partial(class_mask_and_confidence, logits, size),
        }
        yield from compare(f"mask, 21 classes, {name}", tasks, rounds)


def trained_like_logits(num_classes: int, height: int, width: int) -> Tensor:
    """Smooth regions with clear winners, (1, num_classes, height, width); about a third of the
    cells touch an outline, as on photos."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, num_classes, height // 7, width // 7, generator=generator)
    return 8 * nn.functional.interpolate(coarse, (height, width), mode="bicubic")


def decode_figures(rounds: int) -> Iterator[Figure]:
    """A JPEG of 12 megapixels to what the network reads, at 520 px."""
    data = jpeg_of(SIZES["12 MP"])
    size = fit_size(4000, 3000, 520)

    def recipe() -> Tensor:
        image = tv.pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))
        pixels = tv.to_dtype(image, torch.float32, scale=True)
        resized: Tensor = tv.resize(pixels, list(size), antialias=True)
        return resized

    tasks: dict[str, Task] = {
        "torchvision's recipe": recipe,
        "ours": lambda: resize(decode_image(data), size),
    }
    yield from compare("decode and resize, 12 MP JPEG", tasks, rounds)


def encode_figures(rounds: int) -> Iterator[Figure]:
    """A mask of 12 megapixels to what is sent."""
    logits, palette = trained_like_logits(21, 65, 87), voc_palette(21)
    mask, confidence = (
        image[0].numpy() for image in class_mask_and_confidence(logits, SIZES["12 MP"])
    )
    labels = [str(number) for number in range(21)]

    def pillow() -> None:
        Image.fromarray(mask).save(io.BytesIO(), "PNG")

    tasks: dict[str, Task] = {
        "nested lists in JSON": lambda: json.dumps(mask.tolist()),
        "PNG, Pillow's defaults": pillow,
        "ours, PNG": lambda: mask_png(mask, palette),
        "ours, figures and COCO RLE of each class": lambda: json.dumps(
            class_summaries(mask, confidence, labels, palette)
        ),
    }
    yield from compare("encode, 12 MP mask", tasks, rounds)


def service_figures(
    preset: Preset, weights: Path, archive: Path, photos: Mapping[str, bytes], rounds: int
) -> Iterator[Figure]:
    """Over HTTP: one client with each photo, then several with the first."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        urls = {
            "plain recipe": stack.enter_context(peer(preset, weights, "recipe")),
            "image_segmenter's way (224x224)": stack.enter_context(
                peer(preset, weights, "image_segmenter")
            ),
            "ours": stack.enter_context(running_service(archive, folder)).predictions,
        }
        handler = stack.enter_context(handler_here(archive, folder / "archive"))
        http = stack.enter_context(session())
        for name, data in photos.items():
            tasks: dict[str, Task] = {
                contender: partial(post, http, url, data) for contender, url in urls.items()
            }
            yield from compare(f"over HTTP, one client, {name}", tasks, rounds)
        data = next(iter(photos.values()))
        for clients in CLIENTS:
            tasks = {
                contender: partial(post_all, http, url, data, clients)
                for contender, url in urls.items()
            }
            tasks["ours, the handler in this process"] = partial(handle_all, handler, data, clients)
            for figure in compare(
                f"over HTTP, {clients} clients, an answer every", tasks, CLIENT_ROUNDS
            ):
                each = figure.milliseconds / (clients * EACH)
                yield Figure(figure.section, figure.contender, each, figure.ratio)


@contextmanager
def peer(preset: Preset, weights: Path, way: str) -> Iterator[str]:
    """The URL of a peer in a process of its own, ended when the block is left."""
    command = [
        sys.executable,
        "-m",
        "scripts.bench.baselines",
        "--weights",
        str(weights),
        "--way",
        way,
    ]
    command += ["--preset", preset.name, "--threads", str(torch.get_num_threads())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def handler_here(archive: Path, folder: Path) -> Iterator[Callable[[list[bytes]], object]]:
    """What answers a batch of JPEGs by the archive's handler, as a worker does, in this process."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    handler = SegmentationHandler()
    handler.initialize(context_of(folder, 0))
    try:
        yield lambda batch: handler.handle(
            [{"body": bytearray(data)} for data in batch], context_of(folder, len(batch))
        )
    finally:
        handler.threads.shutdown()


def context_of(folder: Path, requests: int) -> Context:
    """What TorchServe's worker hands to a handler beside a batch of that many JPEGs."""
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_bytes())
    context = Context(MODEL_NAME, str(folder), manifest, requests, None, "0.12.0")
    context.model_yaml_config = {}
    context.request_ids = {index: str(index) for index in range(requests)}
    headers = {"Content-Type": "image/jpeg"}
    context.request_processor = [RequestProcessor(dict(headers)) for _ in range(requests)]
    return context


def handle_all(handler: Callable[[list[bytes]], object], data: bytes, clients: int) -> None:
    for _ in range(EACH):
        handler([data] * clients)


def post(http: requests.Session, url: str, data: bytes) -> bytes:
    answer = http.post(url, data=data, headers={"Content-Type": "image/jpeg"}, timeout=600)
    answer.raise_for_status()
    return answer.content


def post_all(http: requests.Session, url: str, data: bytes, clients: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: post(http, url, data), range(clients * EACH)))


def jpeg_of(size: tuple[int, int]) -> bytes:
    """A drawn street with the grain of a photo, (H, W) px."""
    height, width = size
    street = np.asarray(draw_street().resize((width, height), Image.Resampling.BICUBIC))
    grain = np.random.default_rng(0).normal(0, 4, (height, width, 1))
    image = Image.fromarray((street + grain).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def table(figures: Sequence[Figure]) -> str:
    """Markdown; one table a section."""
    lines: list[str] = []
    section = None
    for figure in figures:
        if figure.section != section:
            section = figure.section
            lines += ["", f"| {section} | ms | times as fast |", "|---|---:|---:|"]
        lines.append(f"| {figure.contender} | {figure.milliseconds:.1f} | {figure.ratio:.2f} |")
    return "\n".join(lines[1:])


def conditions() -> dict[str, object]:
    """What the figures depend on beside the code."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "capabilities": f"{capabilities}, {fast_precision(torch.device('cpu'))} is fast",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def run(options: argparse.Namespace) -> int:
    preset = load_preset(options.preset)
    photo = options.photo.read_bytes() if options.photo else jpeg_of(SIZES["0.3 MP"])
    photos = {"640x491" if not options.photo else options.photo.name: photo}
    photos["4000x3000"] = jpeg_of(SIZES["12 MP"])
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temp:
        weights, archive = Path(temp, WEIGHTS_FILE), Path(temp, "segmenter.mar")
        state = untrained(preset).state_dict()
        torch.save(state, weights)
        build_archive(options.preset, archive, weights=weights)
        rounds = options.rounds
        sections = (
            product_figures(rounds),
            forward_figures(preset, state, rounds),
            mask_figures(rounds),
            decode_figures(rounds),
            encode_figures(rounds),
            service_figures(preset, weights, archive, photos, rounds),
        )
        for section in sections:
            figures += section
    print("\n".join(f"{key}: {value}" for key, value in conditions().items()), end="\n\n")
    print(table(figures))
    if options.json:
        report = {"conditions": conditions(), "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.benchmark", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", default="voc-resnet50", help="one with torchvision's Bottleneck backbones")
    add("--photo", type=Path, help="a photo instead of a drawing of 640x491")
    add("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    add("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options), PresetError, CheckpointError, OSError)


if __name__ == "__main__":
    sys.exit(main())
