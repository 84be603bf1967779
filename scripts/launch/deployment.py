"""Give an instance another archive, and take it back where it does not work."""

from __future__ import annotations

from pathlib import Path

from scripts.common.terminal import say, shown
from scripts.launch import gateway
from scripts.launch.archives import check_unchanged, copy_into, keep, kept_archive
from scripts.launch.foreground import is_in_foreground
from scripts.launch.gateway import Gateway
from scripts.launch.instance import LaunchError, gateway_folder
from scripts.launch.lifecycle import check_not_running, start, start_behind_gateway, stop
from scripts.launch.ports import ports_from
from scripts.launch.torchserve import configured_origins, running_group


def archive_to_start(archive: Path | None, folder: Path, port: int) -> Path:
    """A copy of `archive` in the folder of the instance on `port`; without one, what it keeps.

    Raises LaunchError where the instance runs already, or keeps no archive, or a damaged one.
    """
    check_not_running(folder, port)
    if archive is not None:
        return copy_into(folder, archive)
    kept = kept_archive(folder)
    if kept is None:
        raise LaunchError(
            f"no archive has been served on port {port} yet: name one with --archive; "
            "`make start` does"
        )
    check_unchanged(kept)
    return kept


def deploy(archive: Path, folder: Path, port: int) -> None:
    """Have the instance on `port` serve the archive from now on.

    An instance that runs in the background is restarted with it, behind its gateway if it has one;
    where the archive does not start, the one before is started again, and LaunchError raised. An
    instance that is stopped, or that a supervisor runs, serves it from its next start.
    """
    before = kept_archive(folder)
    new = copy_into(folder, archive)
    in_background = running_group(folder) is not None and not is_in_foreground(folder)
    if in_background and new != before:
        front = gateway.running_in(gateway_folder(folder))
        try:
            stop(folder)
            restart(new, folder, port, front)
        except BaseException as error:
            say(f"{shown(new)} does not start: {error or type(error).__name__}")
            if before is None:
                say("no archive was kept before, so nothing runs now")
            else:
                say(f"going back to {shown(before)}")
                restart(before, folder, port, front)
            raise
    keep(new)
    if in_background:
        say(f"port {port} serves {shown(new)}")
    else:
        say(f"port {port} serves {shown(new)} from its next start")


def restart(archive: Path, folder: Path, port: int, front: Gateway | None) -> None:
    """Start the stopped instance again; behind a gateway as `front` was, if there was one."""
    ports = ports_from(port)
    if front is None:
        start(archive, folder, ports, configured_origins(folder))
    else:
        certificate = gateway.given_certificate(front)
        start_behind_gateway(archive, folder, ports, front.port, certificate, front.origins)
