"""The kserve SDK: python kserve_client.py URL TOKEN CA PHOTO; prints what it found, as JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from PIL import Image

NAME = "segmenter"


async def main(url: str, token: str, ca: str, photo: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {token}"}
    verify = ssl.create_default_context(cafile=ca)
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", verify=verify))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2", verify=verify))
    image = Path(photo).read_bytes()
    found: dict[str, object] = {
        "live": await v2.is_server_live(url, headers=headers),
        "ready": await v2.is_server_ready(url, headers=headers),
        "model ready, v1": await v1.is_model_ready(url, NAME, headers=headers),
        "model ready, v2": await v2.is_model_ready(url, NAME, headers=headers),
    }
    b64 = base64.b64encode(image).decode()
    instances = {"instances": [{"image_bytes": {"b64": b64}}]}
    response = await v1.infer(url, instances, model_name=NAME, headers=headers)
    found["v1"] = response["predictions"][0]["mask"]["b64"]
    for is_binary in (False, True):
        pixels = np.asarray(Image.open(photo))[None]
        tensor = InferInput("image", list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels, binary_data=is_binary)
        request = InferRequest(NAME, [tensor])
        response = await v2.infer(url, request, model_name=NAME, headers=dict(headers))
        found[f"v2, {is_binary}"] = response.outputs[0].as_numpy()[0].tolist()
    try:
        bad = {"instances": [{"b64": "?"}]}
        await v1.infer(url, bad, model_name=NAME, headers=headers)
    except Exception as error:
        found["error"] = str(error)
    await v1.close()
    await v2.close()
    return found


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
