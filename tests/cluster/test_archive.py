"""The archive on a node: whole or not at all, by its digest, and the only source of its code."""

from __future__ import annotations

import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from cluster.archive import ClusterArchiveError, digest_of, unpack

ROOT = Path(__file__).parents[2]
TIMEOUT = 60  # seconds: a bound against hanging

MANIFEST = '{"model": {"modelVersion": "2.0", "configFile": "model-config.yaml"}}'
CONFIG = "batchSize: 3\nmaxBatchDelay: 2\nresponseTimeout: 50\nprecision: fp32\n"


def packed(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    files = {
        "MAR-INF/MANIFEST.json": MANIFEST,
        "model-config.yaml": CONFIG,
        "serving/__init__.py": "ORIGIN = 'archive'\n",
    }
    return packed(tmp_path / "model.mar", files)


def test_its_settings_are_torchserves(archive: Path, tmp_path: Path) -> None:
    unpacked = unpack(archive, digest_of(archive), tmp_path / "store")
    assert unpacked.version == "2.0"
    assert unpacked.precision == "fp32"
    assert (unpacked.batch_size, unpacked.batch_seconds, unpacked.response_seconds) == (
        3,
        0.002,
        50,
    )
    assert (unpacked.folder / "serving" / "__init__.py").exists()


def test_it_is_unpacked_once_and_by_its_content(archive: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = unpack(archive, digest_of(archive), store)
    mark = first.folder / "mark"
    mark.touch()
    before = digest_of(archive)
    archive.unlink()  # the folder is all that is needed
    assert unpack(archive, before, store) == first
    assert mark.exists()
    packed(archive, {"MAR-INF/MANIFEST.json": MANIFEST, "model-config.yaml": ""})
    assert unpack(archive, digest_of(archive), store).folder != first.folder


def test_processes_that_unpack_at_once_get_the_same_folder(archive: Path, tmp_path: Path) -> None:
    digest, store = digest_of(archive), tmp_path / "store"
    barrier = threading.Barrier(8)
    folders = []

    def unpack_with_others() -> None:
        barrier.wait(TIMEOUT)
        folders.append(unpack(archive, digest, store).folder)

    threads = [threading.Thread(target=unpack_with_others) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert folders == 8 * [store / digest]
    assert list(store.iterdir()) == [store / digest]


def test_another_archive_at_the_same_path_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterArchiveError, match=r"has the digest .* is deployed"):
        unpack(archive, 64 * "0", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterArchiveError, match=r"absent\.mar cannot be read on this node"):
        digest_of(tmp_path / "absent.mar")


@pytest.mark.parametrize("damage", ["no zip", "cut", "other files", "no numbers"])
def test_what_is_no_archive_leaves_nothing_behind(
    archive: Path, tmp_path: Path, damage: str
) -> None:
    if damage == "no zip":
        archive.write_bytes(b"hello")
    elif damage == "cut":
        archive.write_bytes(archive.read_bytes()[:-30])
    elif damage == "other files":
        packed(archive, {"readme.txt": "hello"})
    store = tmp_path / "store"
    if damage == "no numbers":
        config = {"MAR-INF/MANIFEST.json": MANIFEST, "model-config.yaml": "batchSize: many\n"}
        packed(archive, config)
        with pytest.raises(ClusterArchiveError, match=r"batchSize in .* is 'many'"):
            _ = unpack(archive, digest_of(archive), store).batch_size
        return
    with pytest.raises(ClusterArchiveError):
        unpack(archive, digest_of(archive), store)
    assert [path for path in store.glob("*.*") if path.is_dir()] == []


def run(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints, which has the checkout on its path."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    return done.stdout.strip()


IMPORT = """
import sys
from pathlib import Path
{before}
from cluster.archive import ClusterArchiveError, import_from
try:
    import_from(Path(sys.argv[1]))
except ClusterArchiveError as error:
    print("refused:", error)
else:
    import serving
    print(getattr(serving, "ORIGIN", "checkout"))
"""


def test_the_code_is_the_archives_and_not_the_checkouts(archive: Path, tmp_path: Path) -> None:
    folder = str(unpack(archive, digest_of(archive), tmp_path / "store").folder)
    assert run(IMPORT.format(before=""), folder) == "archive"
    refused = run(IMPORT.format(before="import serving"), folder)
    assert refused.startswith("refused: serving has been imported from")
