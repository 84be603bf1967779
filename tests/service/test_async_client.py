"""The asynchronous client against a real TorchServe: the results of the synchronous one."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from segmenter_client import AsyncService, RequestRefused, Segmentation, Service, segment
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

PHOTOS = [encoded(photo(75, 113 + index), "PNG") for index in range(6)]


def test_many_at_a_time(model: RunningModel) -> None:
    async def main() -> list[Segmentation]:
        async with AsyncService(model.url, connections=3) as service:
            return await asyncio.gather(*map(service.segment, PHOTOS))

    for image, found in zip(PHOTOS, asyncio.run(main()), strict=True):
        expected = segment(image, url=model.url)
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert found.classes == expected.classes
        assert found.model == expected.model
        assert found.overlay().tobytes() == expected.overlay().tobytes()


def test_formats_card_and_refusal(model: RunningModel) -> None:
    names = ["mask", "overlay", "json"]

    async def main() -> None:
        async with AsyncService(model.url) as service:
            assert await service.predict_all(PHOTOS[0], names, threshold=0.3) == expected
            assert await service.model() == card
            with pytest.raises(RequestRefused) as caught:
                await service.segment(b"a text")
            assert (caught.value.status, caught.value.code) == (415, "unsupported_format")

    with Service(model.url) as synchronous:
        expected = synchronous.predict_all(PHOTOS[0], names, threshold=0.3)
        card = synchronous.model()
    asyncio.run(main())
