"""Which model `make` builds and serves. make is real; what it calls only prints and touches."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT

TIMEOUT = 60  # seconds: a bound against hanging

# No MODEL of the caller's, and nothing of a make that runs the tests.
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}

# Refuses what is no model, as the real one does, and says what the archive is of.
BUILD_ARCHIVE = """
import sys
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "typo" in options["--preset"]:
    sys.exit(1)
archive = Path(options["--output"])
archive.parent.mkdir(exist_ok=True)
archive.write_text(f"{options['--preset']} {options.get('--weights', 'its own')}")
"""

SERVICE = """
import sys
from pathlib import Path

archive = Path("build/segmenter.mar")
print(*sys.argv[1:], "of", archive.read_text() if archive.exists() else "nothing")
"""

# As the real one, it does something yet on SIGTERM. SIGALRM is a bound against staying for ever.
UNTIL_SIGTERM = """
import signal

def drain(number, frame):
    print("drained", flush=True)
    raise SystemExit

signal.signal(signal.SIGTERM, drain)
signal.alarm(60)
print("serving", flush=True)
signal.pause()
"""

EVALUATE = "import sys; print(*sys.argv[1:])"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "build_archive.py").write_text(BUILD_ARCHIVE)
    (tmp_path / "scripts" / "service.py").write_text(SERVICE)
    (tmp_path / "scripts" / "evaluate.py").write_text(EVALUATE)
    for name in ("handler.py", "model-config.yaml", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("runtime", "dev"):  # the requirements are installed
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
        cwd=checkout,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def served(checkout: Path, *words: str) -> str:
    """What `make start` serves: preset and weights."""
    done = make(checkout, "start", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().partition(" of ")[2]


def test_what_was_built_last_is_served_until_another_is_named(checkout: Path) -> None:
    assert served(checkout) == "street-resnet18 its own"
    make(checkout, "archive", "MODEL=voc-resnet50")
    assert served(checkout) == "voc-resnet50 its own"
    make(checkout, "stop")
    assert served(checkout) == "voc-resnet50 its own"
    (checkout / "my weights.pth").touch()
    assert served(checkout, "WEIGHTS=my weights.pth") == "voc-resnet50 my weights.pth"
    assert served(checkout) == "voc-resnet50 my weights.pth"
    assert served(checkout, "MODEL=voc-resnet50") == "voc-resnet50 its own"
    assert served(checkout, "MODEL=my $$preset.yaml") == "my $preset.yaml its own"
    assert served(checkout) == "my $preset.yaml its own"


def test_a_model_that_cannot_be_built_is_forgotten(checkout: Path) -> None:
    make(checkout, "archive", "MODEL=voc-resnet50")
    assert make(checkout, "start", "MODEL=typo").returncode != 0
    assert served(checkout) == "voc-resnet50 its own"


def test_an_archive_is_built_again_only_where_something_changed(checkout: Path) -> None:
    make(checkout, "archive", "MODEL=voc-resnet50", "WEIGHTS=my weights.pth")
    archive = checkout / "build" / "segmenter.mar"
    archive.write_text("not built again")
    assert served(checkout) == "not built again"
    assert served(checkout, "MODEL=voc-resnet50", "WEIGHTS=my weights.pth") == "not built again"
    archive.unlink()
    assert served(checkout) == "voc-resnet50 my weights.pth"


def test_what_is_measured_is_the_default_unless_named(checkout: Path) -> None:
    make(checkout, "archive", "MODEL=voc-resnet50", "WEIGHTS=my weights.pth")
    measured = make(checkout, "eval", "DATA=data").stdout
    assert measured == "--preset street-resnet18 --data data\n"
    measured = make(checkout, "eval", "DATA=data", "MODEL=mine.yaml", "WEIGHTS=a.pth").stdout
    assert measured == "--preset mine.yaml --data data --weights a.pth\n"
    assert served(checkout) == "voc-resnet50 my weights.pth"


@pytest.mark.parametrize("target", ["start", "serve"])
def test_the_gateway_is_asked_for_by_one_word_alone(checkout: Path, target: str) -> None:
    assert "--gateway" in make(checkout, target, "GATEWAY=1").stdout
    assert "--gateway" not in make(checkout, target).stdout
    refused = make(checkout, target, "GATEWAY=true")
    assert refused.returncode != 0
    assert "GATEWAY=true means nothing: give GATEWAY=1" in refused.stderr


def test_serving_in_the_foreground_ends_with_make(checkout: Path) -> None:
    (checkout / "scripts" / "service.py").write_text(UNTIL_SIGTERM)
    words = ["make", "serve"]
    with subprocess.Popen(
        words, cwd=checkout, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "serving\n"
        program.terminate()
        assert program.communicate(timeout=TIMEOUT)[0] == "drained\n"
