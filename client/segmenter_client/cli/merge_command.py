"""`segmenter merge`: the COCO files of a folder as one file, for programs that import datasets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segmenter_client.cli.outputs import write_atomically
from segmenter_client.cli.terminal import UserError, printable
from segmenter_client.coco import CocoDataset, merge_datasets
from segmenter_client.formats import FILE_SUFFIXES

# COCO's own name for a file of objects' annotations.
INSTANCES: Final = "instances.json"


def run(arguments: Sequence[str]) -> int:
    """The exit status, 0. Raises UserError."""
    parser = argparse.ArgumentParser(
        prog="segmenter merge",
        description="Merge the COCO files in a folder and its subfolders into one.",
    )
    parser.add_argument("folder", type=Path, help="with files of `segmenter --as coco`")
    parser.add_argument("--polygons", action="store_true", help="the files of `--as coco-polygons`")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=f"default: {INSTANCES} in the folder"
    )
    options = parser.parse_args(arguments)
    suffix = FILE_SUFFIXES["coco-polygons" if options.polygons else "coco"]
    output = options.output or options.folder / INSTANCES
    dataset = merge_folder(options.folder, suffix)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, json.dumps(dataset, separators=(",", ":")).encode("ascii"))
    except OSError as error:
        raise UserError(f"cannot write {printable(output)}: {error.strerror}") from error
    print(
        f"{printable(output)}: {len(dataset['images'])} images, "
        f"{len(dataset['annotations'])} annotations"
    )
    return 0


def merge_folder(folder: Path, suffix: str) -> CocoDataset:
    """The files in `folder` that end in `suffix` as one dataset, in the order of their paths.

    An image without a name gets its file's path in the folder, without the suffix. Raises
    UserError.
    """
    datasets = {
        path.relative_to(folder).as_posix()[: -len(suffix)]: _read(path)
        for path in sorted(folder.rglob(f"*{suffix}"))
    }
    if not datasets:
        raise UserError(f"no file in {printable(folder)} ends in {suffix}")
    try:
        return merge_datasets(datasets)
    except ValueError as error:
        raise UserError(printable(str(error))) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"a file in {printable(folder)} is not one of the service's") from error


def _read(path: Path) -> CocoDataset:
    try:
        dataset: CocoDataset = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{printable(path)} is not JSON") from error
    return dataset
