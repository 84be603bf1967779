"""Settings by environment, for containers: SEGMENTER_<OPTION> is the default of that option."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from scripts.common.terminal import UserError

PREFIX: Final = "SEGMENTER_"

# Options of scripts.service; docs/containers.md has the table. docs/client.md has the client's own.
OPTIONS: Final = (
    *("archive", "port", "gateway", "gateway_port", "certificate", "key", "cors_origins"),
    *("token_file", "plain_http", "proxies", "open_metrics"),
)
CLIENTS: Final = frozenset({"SEGMENTER_TOKEN"})

SWITCHES: Final = {"0": False, "1": True}


class SettingError(UserError):
    """A variable that is no setting, or has a value that it cannot have; names it."""


def variable(option: str) -> str:
    return PREFIX + option.upper()


def take_defaults(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Make the environment's settings the parser's defaults: an option given outranks them.

    An empty variable sets nothing. Raises SettingError for a variable that is no setting, as one
    that is misspelt would otherwise be ignored, and with it a limit or a token.
    """
    variables = {variable(option): option for option in OPTIONS}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in CLIENTS or not value:
            continue
        if name not in variables:
            raise SettingError(
                f"{name} is no setting; there are {', '.join(variables)}. Kubernetes adds such "
                "variables for each Service near a pod: enableServiceLinks: false keeps them away"
            )
        option = variables[name]
        is_switch = isinstance(parser.get_default(option), bool)
        if is_switch and value not in SWITCHES:
            raise SettingError(f"{name}={value} means nothing: it is 1 or 0")
        parser.set_defaults(**{option: SWITCHES[value] if is_switch else value})
