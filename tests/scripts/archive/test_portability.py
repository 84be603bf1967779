"""Code that would fail in a worker on another machine is refused when it is packed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.archive.portability import PortabilityError, check_portable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive's root with a package `parts`: modules `there` and `fast`, a name `VALUE`."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("VALUE = 1\n")
    (tmp_path / "parts" / "there.py").write_text("from . import VALUE\n")
    (tmp_path / "parts" / "fast.py").write_text("import triton\n")
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [
        "from __future__ import annotations",
        "import json, os.path",
        "import torch.nn.functional as F",
        "from PIL import Image\nimport numpy as np\nimport yaml\nimport torchvision\nimport ts",
        "import parts.there",
        "from parts import VALUE, there",
        "from parts.there import VALUE as v",
        "def kernel():\n    import triton",
        "def kernel():\n    from parts import fast",
        "try:\n    import triton\nexcept ImportError:\n    triton = None",
        "try:\n    from triton import ops\nexcept (ValueError, ModuleNotFoundError):\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scipy",
    ],
)
def test_runs_on_the_stock_image(folder: Path, code: str) -> None:
    (folder / "handler.py").write_text(code)
    check_portable(folder)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import json\nimport scipy.ndimage", "handler.py:2: imports scipy.ndimage"),
        ("from requests import get", "handler.py:1: imports requests"),
        ("def late():\n    import scipy", "handler.py:2: imports scipy"),
        ("try:\n    import scipy\nexcept ImportError:\n    pass", "handler.py:2: imports scipy"),
        ("import tomllib", "handler.py:1: imports tomllib"),
        ("import triton", "handler.py:1: triton may be missing"),
        (
            "try:\n    import triton\nexcept OSError:\n    pass",
            "handler.py:2: triton may be missing",
        ),
        ("from parts.fast import VALUE", "handler.py:1: parts.fast may be missing"),
        ("from parts import fast", "handler.py:1: parts may be missing"),
        ("import parts.absent", "handler.py:1: imports parts.absent, which is not packed"),
        ("from parts.absent import x", "handler.py:1: imports parts.absent, which is not packed"),
        ("from parts import absent", "handler.py:1: imports absent from parts"),
        ("from .parts import VALUE", "handler.py:1: a relative import"),
        ("match 1:\n    case _:\n        pass", "handler.py:3: not Python 3.9: Pattern"),
        ("def broken(:", "handler.py:1: not Python 3.9: invalid syntax"),
    ],
)
def test_does_not_run_on_the_stock_image(folder: Path, code: str, complaint: str) -> None:
    (folder / "handler.py").write_text(code)
    with pytest.raises(PortabilityError) as caught:
        check_portable(folder)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("name", ["queue.py", "types.py", "yaml.py", "logging"])
def test_names_that_hide_a_module_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    if path.suffix:
        path.write_text("")
    else:
        path.mkdir()
    with pytest.raises(PortabilityError, match=f"hides the module {path.stem}"):
        check_portable(folder)


def test_all_places_are_named(folder: Path) -> None:
    (folder / "handler.py").write_text("import scipy\nimport pandas")
    (folder / "parts" / "there.py").write_text("import tomllib")
    with pytest.raises(PortabilityError) as caught:
        check_portable(folder)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        "handler.py:1",
        "handler.py:2",
        "parts/there.py:1",
    ]
