"""The client against a real TorchServe."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import ExifTags, Image

from segmenter_client import RequestRefused, Service, segment
from segmenter_client.images import ImageLike
from tests.photos import encoded, photo
from tests.service.conftest import RunningModel

PHOTO = encoded(photo(75, 113), "PNG")


@pytest.mark.parametrize("form", ["path", "str", "bytes", "file", "PIL", "array"])
def test_every_form_of_image(model: RunningModel, tmp_path: Path, form: str) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    picture = Image.open(io.BytesIO(PHOTO))
    images: dict[str, ImageLike] = {
        "path": path,
        "str": str(path),
        "bytes": PHOTO,
        "file": io.BytesIO(PHOTO),
        "PIL": picture,
        "array": np.asarray(picture),
    }
    segmentation = segment(images[form], url=model.url)
    assert segmentation.mask.dtype == np.uint8
    assert segmentation.mask.shape == (75, 113)
    np.testing.assert_array_equal(segmentation.mask, served_mask(model.url, PHOTO))


def test_a_picture_is_segmented_as_its_file(model: RunningModel) -> None:
    """Turned by its EXIF orientation, which the pixels that are sent no longer have."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = encoded(photo(75, 113), "PNG", exif=exif)
    segmentation = segment(Image.open(io.BytesIO(file)), url=model.url)
    assert segmentation.mask.shape == (113, 75)
    np.testing.assert_array_equal(segmentation.mask, segment(file, url=model.url).mask)


def test_the_model_says_what_it_is(model: RunningModel) -> None:
    with Service(model.url) as service:
        card = service.model()
        segmentation = segment(PHOTO, service=service)
    assert card.name == segmentation.model["name"] == model.preset.name
    assert card.version == segmentation.model["version"]
    assert card.digest == segmentation.model["digest"] == model.digest
    assert [one.label for one in card.classes] == list(model.preset.labels)


def test_several_formats_are_those_of_single_requests(model: RunningModel) -> None:
    names = ["mask", "overlay", "json"]
    with Service(model.url) as service:
        outputs = service.predict_all(PHOTO, names)
        assert outputs == {name: service.predict(PHOTO, name) for name in names}


def test_the_classes_are_those_of_the_mask(model: RunningModel) -> None:
    segmentation = segment(PHOTO, url=model.url)
    assert len(segmentation.classes) > 1
    assert [entry.pixels for entry in segmentation.classes] == sorted(
        np.bincount(segmentation.mask.ravel())[[entry.id for entry in segmentation.classes]],
        reverse=True,
    )
    assert sum(entry.pixels for entry in segmentation.classes) == segmentation.mask.size
    for entry in segmentation.classes:
        assert entry.label == model.preset.labels[entry.id]
        assert entry.colour == model.preset.palette[entry.id]
        assert entry.fraction == pytest.approx(entry.pixels / segmentation.mask.size)
    assert segmentation.model["digest"] == model.digest


def test_the_version_in_the_url_is_optional(model: RunningModel) -> None:
    segmentation = segment(PHOTO, url=model.url)
    pinned = segment(PHOTO, url=f"{model.url}/{segmentation.model['version']}")
    np.testing.assert_array_equal(pinned.mask, segmentation.mask)


def test_overlay_and_confidence(model: RunningModel) -> None:
    segmentation = segment(PHOTO, url=model.url)
    assert (segmentation.overlay().mode, segmentation.overlay().size) == ("RGB", (113, 75))
    confidence = segmentation.confidence()
    assert confidence.dtype == np.uint8
    assert confidence.shape == (75, 113)
    entry = segmentation.classes[0]
    mean = confidence[segmentation.mask == entry.id].mean() / 255
    assert mean == pytest.approx(entry.confidence, abs=0.02)


def test_selected_classes_and_void(model: RunningModel) -> None:
    whole = segment(PHOTO, url=model.url)
    selected = whole.classes[1]
    for name in (selected.label, selected.id):
        segmentation = segment(PHOTO, url=model.url, classes=[name])
        void = next(entry.id for entry in segmentation.classes if entry.id != selected.id)
        expected = np.where(whole.mask == selected.id, selected.id, void)
        np.testing.assert_array_equal(segmentation.mask, expected)
        assert sum(entry.pixels for entry in segmentation.classes) == segmentation.mask.size


def test_a_threshold_makes_uncertain_pixels_void(model: RunningModel) -> None:
    level = int(np.median(np.unique(segment(PHOTO, url=model.url).confidence())))
    with Service(model.url) as service:
        segmentation = segment(PHOTO, service=service, threshold=level / 255)
        uncertain = segmentation.confidence() < level
        (void,) = np.unique(segmentation.mask[uncertain])
        assert void in {entry.id for entry in segmentation.classes}
        assert 0 < uncertain.mean() < 1
        whole = segment(PHOTO, service=service)
    np.testing.assert_array_equal(segmentation.mask, np.where(uncertain, void, whole.mask))


def test_overlays_show_the_selected_classes(model: RunningModel) -> None:
    whole = segment(PHOTO, url=model.url)
    segmentation = segment(PHOTO, url=model.url, classes=[whole.classes[1].id])
    assert segmentation.overlay().tobytes() != whole.overlay().tobytes()


def test_a_refusal_carries_the_services_code(model: RunningModel) -> None:
    with pytest.raises(RequestRefused) as caught:
        segment(b"a text", url=model.url)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_format")
    assert caught.value.message in str(caught.value)


def served_mask(url: str, body: bytes) -> np.ndarray:
    with requests.Session() as http:
        http.trust_env = False
        return np.array(Image.open(io.BytesIO(http.post(url, data=body, timeout=60).content)))
