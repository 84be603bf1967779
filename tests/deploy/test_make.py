"""Which model `make` builds and serves. make is real; its programs are stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT

TIMEOUT = 60  # seconds: a bound against hanging

# Without a MODEL of the caller's, and without the variables of a make that runs the tests.
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}

# Refuses an unknown model, as the real one does, and writes down what the archive is built from.
BUILD_ARCHIVE = """
import sys
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "typo" in options["--preset"]:
    sys.exit(1)
archive = Path("build", Path(options["--preset"]).stem + ".mar")
archive.parent.mkdir(exist_ok=True)
archive.write_text(f"{options['--preset']} {options.get('--weights', 'its own')}")
link = Path("build/segmenter.mar")
link.unlink(missing_ok=True)
link.symlink_to(archive.name)
"""

# Keeps an archive that it is given, as the real one does.
SERVICE = """
import sys
from pathlib import Path

command, *words = sys.argv[1:]
options = dict(zip(words[::2], words[1::2]))
kept = Path("build", "service-" + options["--port"], "archive.mar")
if "--archive" in options:
    kept.parent.mkdir(parents=True, exist_ok=True)
    copy = kept.with_name("a-copy.mar")
    copy.write_text(Path(options["--archive"]).read_text())
    kept.unlink(missing_ok=True)
    kept.symlink_to(copy.name)
print(*sys.argv[1:], "of", kept.read_text() if kept.exists() else "nothing")
"""

# As the real one, it drains on SIGTERM. SIGALRM is a bound against hanging.
UNTIL_SIGTERM = """
import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.alarm(60)
print("serving", flush=True)
signal.sigwait({signal.SIGTERM})
print("drained", flush=True)
"""

EVALUATE = "import sys; print(*sys.argv[1:])"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "build_archive.py").write_text(BUILD_ARCHIVE)
    (tmp_path / "scripts" / "service.py").write_text(SERVICE)
    (tmp_path / "scripts" / "evaluate.py").write_text(EVALUATE)
    (tmp_path / "client").mkdir()
    for name in ("handler.py", "model-config.yaml", "pyproject.toml", "client/pyproject.toml"):
        (tmp_path / name).touch()
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-ray.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("runtime", "ray", "dev"):  # the requirements are installed
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


def served(checkout: Path, *words: str, target: str = "start") -> str:
    """What `make start` serves: preset and weights."""
    done = make(checkout, target, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().partition(" of ")[2]


def test_an_instance_serves_what_it_served_until_another_model_is_named(checkout: Path) -> None:
    assert served(checkout) == "street-resnet18 its own"
    make(checkout, "archive", "MODEL=voc-resnet50")  # a candidate
    assert served(checkout) == "street-resnet18 its own"
    make(checkout, "stop")
    assert served(checkout) == "street-resnet18 its own"
    assert served(checkout, target="serve") == "street-resnet18 its own"
    assert served(checkout, "MODEL=voc-resnet50") == "voc-resnet50 its own"
    assert served(checkout) == "voc-resnet50 its own"
    (checkout / "my weights.pth").touch()
    assert served(checkout, "WEIGHTS=my weights.pth") == "voc-resnet50 my weights.pth"
    assert served(checkout) == "voc-resnet50 my weights.pth"
    assert served(checkout, "MODEL=voc-resnet50") == "voc-resnet50 its own"
    assert served(checkout, "MODEL=my $$preset.yaml") == "my $preset.yaml its own"
    assert served(checkout) == "my $preset.yaml its own"


def test_a_new_instance_serves_what_was_built_last(checkout: Path) -> None:
    make(checkout, "archive", "MODEL=voc-resnet50")
    assert served(checkout, "PORT=9000") == "voc-resnet50 its own"
    assert served(checkout, "PORT=9010", "MODEL=other") == "other its own"
    assert served(checkout, "PORT=9000") == "voc-resnet50 its own"


def test_code_that_changes_reaches_an_instance_by_deploy_alone(checkout: Path) -> None:
    assert served(checkout) == "street-resnet18 its own"
    build = (checkout / "scripts" / "build_archive.py").read_text()
    (checkout / "scripts" / "build_archive.py").write_text(build.replace("its own", "new code"))
    make_newer(checkout / "handler.py")
    assert served(checkout) == "street-resnet18 its own"
    assert served(checkout, target="deploy") == "street-resnet18 new code"
    assert served(checkout) == "street-resnet18 new code"


def test_what_is_deployed_is_what_was_built_last_or_is_named(checkout: Path) -> None:
    assert served(checkout, "PORT=9000") == "street-resnet18 its own"
    make(checkout, "archive", "MODEL=voc-resnet50")
    assert served(checkout, "PORT=9000", target="deploy") == "voc-resnet50 its own"
    assert served(checkout, "PORT=9000") == "voc-resnet50 its own"
    assert served(checkout, "PORT=9000", "MODEL=other", target="deploy") == "other its own"


def test_a_model_that_cannot_be_built_changes_nothing(checkout: Path) -> None:
    make(checkout, "archive", "MODEL=voc-resnet50")
    assert make(checkout, "start", "MODEL=typo").returncode != 0
    assert served(checkout) == "voc-resnet50 its own"


def test_an_archive_is_built_again_only_if_something_changed(checkout: Path) -> None:
    words = ("MODEL=voc-resnet50", "WEIGHTS=my weights.pth")
    make(checkout, "archive", *words)
    archive = checkout / "build" / "voc-resnet50.mar"
    archive.write_text("not built again")
    assert served(checkout) == "not built again"
    assert served(checkout, *words) == "not built again"
    archive.unlink()
    assert served(checkout, *words) == "voc-resnet50 my weights.pth"
    (checkout / "model").mkdir()
    archive.write_text("not built again")
    make_newer(checkout / "model" / "layers.py")
    assert served(checkout, *words) == "voc-resnet50 my weights.pth"


def make_newer(path: Path) -> None:
    """Change a file as an editor does, later than all that was built by now."""
    path.touch()
    later = path.stat().st_mtime + 1
    os.utime(path, (later, later))


def test_what_is_measured_is_the_default_unless_named(checkout: Path) -> None:
    make(checkout, "archive", "MODEL=voc-resnet50", "WEIGHTS=my weights.pth")
    measured = make(checkout, "eval", "DATA=data").stdout
    assert measured == "--preset street-resnet18 --data data\n"
    measured = make(checkout, "eval", "DATA=data", "MODEL=mine.yaml", "WEIGHTS=a.pth").stdout
    assert measured == "--preset mine.yaml --data data --weights a.pth\n"
    assert served(checkout) == "voc-resnet50 my weights.pth"


def test_what_is_calibrated_is_what_is_built_and_it_is_built_again(checkout: Path) -> None:
    shutil.copy(checkout / "scripts" / "evaluate.py", checkout / "scripts" / "quantize.py")
    make(checkout, "archive", "MODEL=mine.yaml", "WEIGHTS=my weights.pth")
    archive = checkout / "build" / "mine.mar"
    archive.write_text("before the calibration")
    options = "--preset mine.yaml --data photos --weights my weights.pth"
    done = make(checkout, "quantize", "DATA=photos")
    assert done.stdout.splitlines()[0] == f"{options} --report build/report.json"
    assert archive.read_text() == "mine.yaml my weights.pth"
    done = make(checkout, "quantize", "DATA=photos", "VAL=other", "MAX_DROP=1")
    limits = "--measure other --max-drop 1"
    assert done.stdout.splitlines()[0] == f"{options} {limits} --report build/report.json"


@pytest.mark.parametrize("target", ["start", "serve"])
def test_only_1_turns_the_gateway_on(checkout: Path, target: str) -> None:
    assert "--gateway" in make(checkout, target, "GATEWAY=1").stdout
    assert "--gateway" not in make(checkout, target).stdout
    refused = make(checkout, target, "GATEWAY=true")
    assert refused.returncode != 0
    assert "GATEWAY=true means nothing: give GATEWAY=1" in refused.stderr


def test_an_engine_is_torchserve_or_ray(checkout: Path) -> None:
    assert "--engine" not in make(checkout, "start").stdout
    assert "--engine ray" in make(checkout, "start", "ENGINE=ray").stdout
    assert "REPLICAS=3 is for a Ray cluster" in make(checkout, "deploy", "REPLICAS=3").stderr
    refused = make(checkout, "start", "ENGINE=triton")
    assert refused.returncode != 0
    assert "ENGINE=triton means nothing: give ENGINE=torchserve or ENGINE=ray" in refused.stderr


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
