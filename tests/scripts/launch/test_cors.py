"""Origins whose pages may send requests: what is read, and what becomes of it."""

from __future__ import annotations

import pytest

from scripts.launch.cors import nginx_settings, origins_in, parse_origins, torchserve_settings
from scripts.launch.instance import LaunchError


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://a.example", ("https://a.example",)),
        (
            " https://a.example/ , http://localhost:3000,",
            ("https://a.example", "http://localhost:3000"),
        ),
    ],
)
def test_origins(text: str, origins: tuple[str, ...]) -> None:
    assert parse_origins(text) == origins


@pytest.mark.parametrize(
    "text",
    ["a.example", "https://a.example/path", "*,https://a.example", 'http://a";}', "https://*"],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(LaunchError):
        parse_origins(text)


def test_torchserve_takes_one() -> None:
    assert "cors_allowed_origin=https://a.example\n" in torchserve_settings(("https://a.example",))
    assert torchserve_settings(()) == ""
    with pytest.raises(LaunchError, match="GATEWAY=1"):
        torchserve_settings(("https://a.example", "https://b.example"))


@pytest.mark.parametrize("origins", [(), ("*",), ("https://a.example",)])
def test_a_configuration_tells_its_origins(origins: tuple[str, ...]) -> None:
    assert origins_in(torchserve_settings(origins)) == origins
    comment = f"# CORS_ORIGINS: {nginx_settings(origins)['CORS_ORIGINS']}\n"
    assert origins_in(comment) == origins
