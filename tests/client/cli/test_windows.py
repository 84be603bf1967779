"""What Windows lacks or does otherwise: locks, files in use, consoles of few characters."""

from __future__ import annotations

import errno
import fcntl
import importlib
import io
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from segmenter_client.cli import folder_lock, outputs
from segmenter_client.cli.terminal import UserError, tolerate_any_text

# Modules that Windows does not have.
POSIX_ONLY = ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty")


def locking(descriptor: int, mode: int, size: int) -> None:
    """msvcrt.locking of a byte, by the lock that Linux has for one."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, size)
    except OSError as error:
        raise OSError(errno.EACCES, "Permission denied") from error


@pytest.fixture
def windows_lock(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module as Windows loads it."""
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.locking, msvcrt.LK_NBLCK = locking, 2  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)
        patch.setitem(sys.modules, "msvcrt", msvcrt)
        yield importlib.reload(folder_lock)
    importlib.reload(folder_lock)


def test_a_folder_is_locked_without_fcntl(here: Path, windows_lock: types.ModuleType) -> None:
    with windows_lock.locked_folder(here / "out"):
        # POSIX locks are of a process: another one has to try.
        code = (
            "import fcntl, os, sys\n"
            "file = os.open(sys.argv[1], os.O_RDWR)\n"
            "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)"
        )
        lock = str(here / "out" / windows_lock.LOCK_FILE)
        command = [sys.executable, "-c", code, lock]
        assert b"BlockingIOError" in subprocess.run(command, capture_output=True).stderr
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_folder_that_is_locked_is_said_so(
    here: Path, windows_lock: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(windows_lock.msvcrt, "locking", refuse)
    with (
        pytest.raises(UserError, match="another run is writing to out"),
        windows_lock.locked_folder(Path("out")),
    ):
        pass


def test_nothing_imports_what_windows_lacks() -> None:
    code = (
        "import importlib, pkgutil, sys, types\n"
        f"sys.modules.update(dict.fromkeys({POSIX_ONLY!r}))\n"
        "sys.modules['msvcrt'] = types.ModuleType('msvcrt')\n"
        "import segmenter_client\n"
        "for module in pkgutil.walk_packages(segmenter_client.__path__, 'segmenter_client.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "client")
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_in_use_is_replaced_when_it_is_free(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([True, True, False])
    replace = os.replace

    def busy(source: Path, target: Path) -> None:
        if next(refusals):
            raise PermissionError(errno.EACCES, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(outputs, "REPLACE_PAUSE", 0)
    outputs.write_atomically(here / "a.png", b"content")
    assert (here / "a.png").read_bytes() == b"content"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError()))
    with pytest.raises(PermissionError):
        outputs.write_atomically(here / "a.png", b"other")


def test_a_console_of_few_characters_shows_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    console = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    tolerate_any_text()
    print("café 猫", flush=True)
    assert console.buffer.getvalue() == b"caf\xe9 \\u732b\n"
