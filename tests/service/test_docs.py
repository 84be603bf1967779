"""Every command in the documentation: run, or if that would cost too much, parsed.

curl is run against a live service; make says with -n what it would do; the options of our own
programs must be among those that --help lists.
"""

from __future__ import annotations

import base64
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from scripts.openapi.examples import IMAGE
from serving.wire import JSON_SHAPES
from tests.service.conftest import RunningModel

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "client" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").glob("*/README.md")),
]
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 60

# Classes of the examples' street model, and classes of the tests' model to put in their place.
CLASSES = {"car": "water", "pedestrian": "wall", "road": "roof"}

PROGRAM = re.compile(r"(?:^|[ |])\.venv/bin/(python -m scripts\.\w+|segmenter)\b(.*)")
PYTEST = re.compile(r"\.venv/bin/python -m pytest (.+)")
INSTALLED = re.compile(r"(^|\| )segmenter ")  # the client in an environment of its own
HARMLESS = re.compile(r"(export|cp|grep|find) ")
# Of other programs, which need a cluster or an image: tests/deploy/test_kubernetes.py renders what
# helm installs, tests/deploy/test_container.py runs an image, tests/service/test_cvat.py does what
# cvat-cli does.
ELSEWHERE = (
    "cvat-cli ",
    "helm ",
    "kubectl ",
    "podman ",
    "openssl rand ",
    "chmod ",
    "systemctl ",
    "TOKEN=",
)


def commands() -> Iterator[tuple[str, str]]:
    """Page and command, continued lines joined and comments left out; each command once."""
    seen = set()
    for page in PAGES:
        for block in BLOCK.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                command = INSTALLED.sub(r"\1.venv/bin/segmenter ", command)
                if command and command not in seen:
                    seen.add(command)
                    yield page.relative_to(ROOT).as_posix(), command


def of_kind(*beginnings: str) -> list[str]:
    return [command for _, command in commands() if command.startswith(beginnings)]


def test_every_command_is_of_a_kind_that_is_tried_below() -> None:
    kinds = ("make ", "curl ", "pip install ", ".venv/bin/torchserve ")
    unknown = [
        (page, command)
        for page, command in commands()
        if not command.startswith(kinds)
        and not PROGRAM.search(command)
        and not PYTEST.search(command)
        and not HARMLESS.match(command)
        and not command.startswith(ELSEWHERE)
    ]
    assert len(list(commands())) > 20
    assert unknown == []


@pytest.mark.parametrize("command", [command for _, command in commands()])
def test_the_shell_reads_it(command: str) -> None:
    subprocess.run(["sh", "-n", "-c", command], check=True, timeout=SECONDS)


@pytest.mark.parametrize("command", of_kind("make "))
def test_make_knows_it(command: str) -> None:
    _, *words = shlex.split(command)
    result = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
    )
    assert result.returncode == 0, result.stderr
    for word in words:  # a variable that nothing reads is a slip
        name, equals, _ = word.partition("=")
        assert not equals or re.search(rf"\b{name}\b", (ROOT / "Makefile").read_text("utf-8"))


@pytest.mark.parametrize("command", of_kind("curl "))
def test_curl_gets_a_response(model: RunningModel, tmp_path: Path, command: str) -> None:
    text = base64.b64encode(IMAGE).decode("ascii")
    for name, content in {
        **dict.fromkeys(("photo.jpg", "a.jpg", "b.jpg"), IMAGE),
        "v1.json": JSON_SHAPES[1].replace("<base64>", text).encode("ascii"),
        "v2.json": JSON_SHAPES[2].replace("<base64>", text).encode("ascii"),
    }.items():
        (tmp_path / name).write_bytes(content)
    for port, url in (
        (8080, model.service.url),
        (8081, model.service.management),
        (8082, model.service.metrics.removesuffix("/metrics")),
    ):
        command = command.replace(f"http://127.0.0.1:{port}", url)
    for street, own in CLASSES.items():
        command = re.sub(rf"\b{street}\b", own, command)
    result = subprocess.run(
        ["sh", "-c", command.replace("curl ", "curl --fail --silent --show-error --noproxy '*' ")],
        cwd=tmp_path,
        capture_output=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stderr
    for written in re.findall(r" -o (\S+)", command):
        assert (tmp_path / written).stat().st_size > 0
    if " -o " not in command:
        assert result.stdout


@pytest.mark.slow
def test_our_programs_have_the_options(help_of: dict[str, str]) -> None:
    for _, command in commands():
        match = PROGRAM.search(command)
        if match:
            program, arguments = match.groups()
            for option in re.findall(r"(?<!\S)--[a-z-]+", arguments):
                assert option in help_of[program], f"{command}: no {option}"


@pytest.mark.slow
def test_torchserve_has_the_options() -> None:
    page = help_text([ROOT / ".venv" / "bin" / "torchserve"])
    for command in of_kind(".venv/bin/torchserve "):
        for option in re.findall(r" (--[a-z-]+)", command):
            assert option in page


def test_the_tests_that_are_named_are_there() -> None:
    for _, command in commands():
        match = PYTEST.search(command)
        if match:
            path, name = re.findall(r"(tests/\S+)(?: -k (\S+))?", match[1])[0]
            assert (ROOT / path).exists()
            assert not name or name in (ROOT / path).read_text("utf-8")


def test_what_pip_installs_is_a_project() -> None:
    for command in of_kind("pip install "):
        assert (ROOT / command.split()[-1] / "pyproject.toml").is_file()


def test_what_is_only_set_up_can_be_set_up(tmp_path: Path) -> None:
    """Variables, copies and searches, in a copy of what they read."""
    (tmp_path / "model").symlink_to(ROOT / "model")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "photos").mkdir()
    for _, command in commands():
        if HARMLESS.match(command) and not PROGRAM.search(command):
            subprocess.run(
                ["sh", "-c", command],
                cwd=tmp_path,
                check=True,
                capture_output=True,
                timeout=SECONDS,
            )


@pytest.fixture(scope="module")
def help_of() -> dict[str, str]:
    """By program, once for each: most take seconds to import PyTorch."""
    programs = {match[1] for _, command in commands() if (match := PROGRAM.search(command))}
    return {
        program: help_text([ROOT / ".venv" / "bin" / name, *arguments])
        for program in sorted(programs)
        for name, *arguments in [program.split()]
    }


def help_text(command: list[Path | str]) -> str:
    result = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
