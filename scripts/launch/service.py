"""The old names, until the last import of them is gone."""

from scripts.archive.latest import LATEST_ARCHIVE as ARCHIVE
from scripts.launch.lifecycle import running_instance as running_service
from scripts.launch.lifecycle import start, stop

__all__ = ["ARCHIVE", "running_service", "start", "stop"]
