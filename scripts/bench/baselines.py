"""The plain ways of serving the same weights, which ours is measured against.

    python -m scripts.bench.baselines --preset voc-resnet50 --weights FILE --way recipe --port 8090

`recipe` is torchvision's DeepLabV3 as its documentation shows it, and responds with a PNG mask of
the photo's own size. `image_segmenter` does what the handler of that name does in pytorch/serve
0.12 (ts/torch_handler/image_segmenter.py): it crops to 224x224 and responds with nested lists of
class and probability. Both run eager fp32 behind a minimal HTTP server, which costs less than
TorchServe.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101
from torchvision.transforms.v2 import functional as tv

from model.preset import Preset, load_preset
from scripts.archive.checkpoint import read_checkpoint

TORCHVISION_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resnet50": deeplabv3_resnet50,
    "resnet101": deeplabv3_resnet101,
}

Baseline = Callable[[nn.Module, Preset, bytes], bytes]  # network, preset, image file -> body


def torchvision_network(preset: Preset, state: dict[str, Tensor]) -> nn.Module:
    """torchvision's own DeepLabV3 with the weights `state`, in eval mode, fp32 on the CPU."""
    aux = any(name.startswith("aux_classifier.") for name in state)
    net = TORCHVISION_NETWORKS[preset.backbone](
        weights=None, weights_backbone=None, num_classes=preset.num_classes, aux_loss=aux
    )
    net.load_state_dict(state)
    return net.eval()


@torch.inference_mode()
def recipe(net: nn.Module, preset: Preset, data: bytes) -> bytes:
    """Image file -> PNG of class ids, of the photo's size."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    pixels = tv.to_dtype(tv.pil_to_tensor(image), torch.float32, scale=True)
    pixels = tv.resize(pixels, [preset.short_side], antialias=True)
    pixels = tv.normalize(pixels, list(preset.mean), list(preset.std))
    logits = net(pixels[None])["out"]
    mask = interpolate(logits, (image.height, image.width), mode="bilinear").argmax(1)[0]
    png = io.BytesIO()
    Image.fromarray(mask.byte().numpy()).save(png, "PNG")
    return png.getvalue()


@torch.inference_mode()
def image_segmenter(net: nn.Module, preset: Preset, data: bytes) -> bytes:
    """Image file -> JSON, [224][224][class, probability]; indented, as TorchServe does."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = tv.center_crop(tv.resize(image, [256]), [224, 224])
    pixels = tv.to_dtype(tv.pil_to_tensor(image), torch.float32, scale=True)
    pixels = tv.normalize(pixels, list(preset.mean), list(preset.std))
    probability, label = net(pixels[None])["out"].softmax(1).max(1)
    pairs = torch.stack([label.float(), probability], dim=-1)[0]
    return json.dumps(pairs.tolist(), indent=2).encode()


BASELINES: dict[str, Baseline] = {"recipe": recipe, "image_segmenter": image_segmenter}


def serve(respond: Callable[[bytes], bytes], port: int) -> None:
    """Respond to POSTs on 127.0.0.1, one at a time, until interrupted. Port 0 takes a free one.

    Prints the port as soon as it listens.
    """
    forward_lock = threading.Lock()  # a forward pass uses all cores; two would only share them

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            with forward_lock:
                body = respond(data)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.baselines", description=(__doc__ or "").split("\n\n")[0]
    )
    add = parser.add_argument
    add("--preset", required=True, help="a preset's name or file")
    add("--weights", type=Path, required=True, help="a checkpoint of it")
    add("--way", choices=sorted(BASELINES), required=True)
    add("--port", type=int, default=0)
    add("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    preset = load_preset(options.preset)
    net = torchvision_network(preset, read_checkpoint(options.weights))
    with contextlib.suppress(KeyboardInterrupt):
        serve(partial(BASELINES[options.way], net, preset), options.port)


if __name__ == "__main__":
    main()
