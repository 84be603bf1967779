"""Settings by environment: what is set counts, an option outranks it, and nothing is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.common.terminal import ROOT
from scripts.launch.arguments import parsed
from scripts.launch.environment import OPTIONS, SettingError, variable
from scripts.service import main


def test_variables_are_the_defaults_of_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTER_ARCHIVE", "/mnt/a.mar")
    monkeypatch.setenv("SEGMENTER_GATEWAY", "1")
    monkeypatch.setenv("SEGMENTER_GATEWAY_PORT", "8000")
    monkeypatch.setenv("SEGMENTER_PLAIN_HTTP", "0")
    monkeypatch.setenv("SEGMENTER_CERTIFICATE", "")
    options = parsed(["run", "--gateway-port", "9000"])
    assert options.archive == Path("/mnt/a.mar")
    assert options.gateway is True
    assert options.gateway_port == 9000
    assert options.plain_http is False
    assert options.certificate is None
    assert parsed(["run"]).gateway_port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEGMENTER_PLAIN_HTPP", "1"),  # misspelt
        ("SEGMENTER_SERVICE_HOST", "10.0.0.1"),  # Kubernetes, of a Service named segmenter
        ("SEGMENTER_GATEWAY", "yes"),
    ],
)
def test_what_means_nothing_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=name):
        parsed(["run"])
    assert main(["run"]) == 1
    assert name in capsys.readouterr().err


def test_the_clients_own_variable_is_none_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTER_TOKEN", "secret")
    parsed(["run"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "--open-metrics"],
        ["run", "--plain-http"],
        ["run", "--proxies", "10.0.0.0/8"],
        ["run", "--token-file", "token"],
    ],
)
def test_settings_that_would_have_no_effect(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(arguments)


@pytest.mark.parametrize("command", ["stop", "deploy"])
def test_settings_of_the_gateway_are_no_matter_of_other_commands(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("SEGMENTER_PROXIES", "10.0.0.0/8")
    monkeypatch.setenv("SEGMENTER_CERTIFICATE", "/mnt/tls.crt")
    assert parsed([command]).command == command
    with pytest.raises(SystemExit):
        parsed(["run"])


@pytest.mark.parametrize("option", OPTIONS)
def test_the_table_names_every_variable(option: str) -> None:
    parsed(["run"])
    assert f"| `{variable(option)}` |" in (ROOT / "docs" / "containers.md").read_text("utf-8")
