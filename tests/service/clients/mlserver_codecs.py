"""MLServer's codecs make requests and read responses: URL TOKEN CA PHOTO; prints masks, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import requests
from mlserver.codecs import Base64Codec, NumpyCodec, NumpyRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse
from PIL import Image


def main(url: str, token: str, ca: str, photo: str) -> dict[str, object]:
    image = Path(photo).read_bytes()
    pixels = np.asarray(Image.open(photo))[None]
    sent = {
        "numpy": NumpyRequestCodec.encode_request(pixels),
        "numpy input": InferenceRequest(inputs=[NumpyCodec.encode_input("image", pixels)]),
        "base64": InferenceRequest(inputs=[Base64Codec.encode_input("image", [image])]),
    }
    found: dict[str, object] = {}
    for name, request in sent.items():
        response = requests.post(
            f"{url}/v2/models/segmenter/infer",
            data=request.model_dump_json(exclude_none=True),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            verify=ca,
            timeout=60,
        )
        assert response.status_code == 200, response.text
        read = InferenceResponse.model_validate_json(response.text)
        found[name] = NumpyCodec.decode_output(read.outputs[0])[0].tolist()
    return found


print(json.dumps(main(*sys.argv[1:])))
