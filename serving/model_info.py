"""Which model gave an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelInfo:
    """A served model's name and version, and "sha256:<64 hex digits>" of its weights file."""

    name: str
    version: str
    digest: str

    def headers(self) -> dict[str, str]:
        return {
            "Model-Name": self.name,
            "Model-Version": self.version,
            "Model-Digest": self.digest,
        }
