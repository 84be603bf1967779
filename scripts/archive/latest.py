"""Archives built without a path of their own: build/<model>.mar, and a link to the latest."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.common.terminal import ROOT

BUILD = ROOT / "build"

# Leads to the archive that was built last, of whatever model.
LATEST_ARCHIVE = BUILD / "segmenter.mar"


def archive_path(model: str) -> Path:
    """Where the archive of the model of that name is built by default."""
    return BUILD / f"{model}.mar"


def link_latest(archive: Path) -> None:
    """Lead LATEST_ARCHIVE, which is never missing meanwhile, to a file beside it."""
    if archive == LATEST_ARCHIVE:  # of a model that is named segmenter
        return
    link = LATEST_ARCHIVE.with_suffix(".new")
    link.unlink(missing_ok=True)
    link.symlink_to(archive.name)
    os.replace(link, LATEST_ARCHIVE)
