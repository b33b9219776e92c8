"""The commands ``proactor-echo service install``, ``remove`` and ``run``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from proactor_echo.cli.options import choice_option, value_option
from proactor_echo.cli.output import print_err, print_line
from proactor_echo.cli.service import winapi
from proactor_echo.cli.service.log_file import print_into
from proactor_echo.cli.service.manager import Account, Installation, StartType, install, remove
from proactor_echo.cli.service.process import run_as_service
from proactor_echo.cli.service.winapi import ServiceApi
from proactor_echo.cli.systemd import Notifier
from proactor_echo.cli.types import ParamType, Seconds

__all__ = ["service"]

Command = TypeVar("Command", bound=Callable[..., Any])

#: What a service may be.
SERVERS: Final = ("tcp", "udp")

#: Seconds, beside those of --drain, that a service may take to stop before Windows shuts down.
PRESHUTDOWN_MARGIN: Final = 5.0

#: Options of a server that name a file.
_FILES: Final = ("tls_cert", "tls_key", "tls_key_password_file", "tls_client_ca", "tls_keylog")


class ServiceName(ParamType[str]):
    """The name of a service: 1 to 256 characters, no slash and no backslash, says ``CreateServiceW``."""

    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with a usage error."""
        text = str(value)
        if not 1 <= len(text) <= 256 or not text.isprintable() or text != text.strip() or {"/", "\\"} & {*text}:
            self.fail(f"{text!r} is no name of a service: write 1 to 256 characters without / and \\.", param, ctx)
        return text


class FullPath(ParamType[str]):
    """A file, which becomes a full path: a service does not run in the folder that it was installed from."""

    name = "file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the full path, or fail with a usage error."""
        path = os.path.abspath(str(value))
        if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
            self.fail(f"{path!r} cannot be a file: its folder is not there, or it is a folder.", param, ctx)
        return path


_name = click.argument("name", type=ServiceName())
_server = click.argument("server", nargs=-1, type=click.UNPROCESSED, metavar="-- tcp|udp [OPTIONS]")
_log_file = click.option(
    "--log-file",
    metavar="FILE",
    type=FullPath(),
    help="Add what the server prints to this file.  [default: nowhere]",
)


class _NoServicesError(click.ClickException):
    exit_code = 2


@click.group()
def service() -> None:
    """Install, remove and run a server as a Windows service.

    \b
    Examples:
      proactor-echo service install echo -- tcp --host 0.0.0.0 --port 7
      sc start echo
      proactor-echo service remove echo
    """  # noqa: D301


@service.command("install")
@_name
@_server
@click.option("--display-name", metavar="TEXT", help="What people see.  [default: Echo server (NAME)]")
@click.option("--description", metavar="TEXT", help="What it is for.  [default: its command]")
@choice_option(
    "--start",
    ["automatic", "delayed", "manual"],
    "automatic",
    "Start it with Windows, some minutes after that, or only when somebody does.",
)
@choice_option(
    "--account",
    ["LocalService", "NetworkService", "LocalSystem"],
    "LocalService",
    "Run it as this account of Windows'. The first two can do little; LocalSystem can do everything.",
)
@click.option("--no-restart", is_flag=True, help="Do not start it again when it has failed.")
@_log_file
@click.pass_context
def install_service(
    context: click.Context,
    name: str,
    server: Sequence[str],
    display_name: str | None,
    description: str | None,
    start: StartType,
    account: Account,
    no_restart: bool,
    log_file: str | None,
) -> None:
    """Install the service NAME, which runs a server.

    What follows -- is the server, as it would be without a service. It is
    not started: `sc start NAME` does that. It needs an administrator.

    \b
    Examples:
      proactor-echo service install echo -- tcp --host 0.0.0.0 --port 7
      proactor-echo service install echo --start delayed -- udp --port 7
    """  # noqa: D301
    options = _checked(context, server)
    api = load_api()
    wanted = Installation(
        name=name,
        command=command_line(name, server, log_file),
        display_name=display_name or f"Echo server ({name})",
        description=description or f"proactor-echo {subprocess.list2cmdline(server)}",
        start=start,
        account=account,
        restart=not no_restart,
        preshutdown=int((float(options.get("drain") or 0.0) + PRESHUTDOWN_MARGIN) * 1000),
    )
    for refused in install(api, wanted):
        print_err(f"Warning: {refused}")
    print_line(f"installed the service {name}")


@service.command("remove")
@_name
@value_option("--wait", "SECONDS", Seconds(), 60.0, "Longest wait for the service to stop.")
def remove_service(name: str, wait: float) -> None:
    """Stop the service NAME gracefully, and remove it.

    It needs an administrator.
    """
    if not remove(load_api(), name, wait):
        raise click.ClickException(
            f"the service {name} has not stopped within {wait:g} s: it is removed as soon as it has"
        )
    print_line(f"removed the service {name}")


@service.command("run")
@_name
@_server
@_log_file
@click.pass_context
def run_service(context: click.Context, name: str, server: Sequence[str], log_file: str | None) -> None:
    """Be the service NAME. Windows calls this, nobody else can."""
    _checked(context, server)
    api = load_api()
    group = context.find_root().command

    def serve(notifier: Notifier) -> int:
        try:
            print_into(log_file or os.devnull, api)
        except OSError:
            return 1  # there is nowhere to tell why
        try:
            group.main([*server], prog_name="proactor-echo", obj=notifier)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0

    raise click.exceptions.Exit(run_as_service(api, name, serve))


def load_api() -> ServiceApi:
    """Return the functions of Windows. Elsewhere raises click.ClickException, for an exit with status 2."""
    try:
        return winapi.load()
    except ImportError:
        raise _NoServicesError("services are for Windows only: elsewhere `--systemd` is for that") from None


def command_line(name: str, server: Sequence[str], log_file: str | None) -> str:
    """Return what Windows is to run. The program is in quotes: without them Windows tries every part before a space."""
    log = [] if log_file is None else ["--log-file", log_file]
    arguments = ["-m", "proactor_echo", "service", "run", name, *log, "--", *server]
    return f'"{sys.executable}" {subprocess.list2cmdline(arguments)}'


def _checked(context: click.Context, server: Sequence[str]) -> dict[str, Any]:
    """Return the options of the server that is to run. Raises click.UsageError for what could not run as a service."""
    if not server or server[0] not in SERVERS:
        raise click.UsageError("Write what to serve behind --, as in: -- tcp --port 9000.", context)
    group = context.find_root().command
    assert isinstance(group, click.Group)
    command = group.commands[server[0]]
    parsed = command.make_context(server[0], [*server[1:]], parent=context.find_root())
    options: dict[str, Any] = parsed.params
    for name in _FILES:
        if (path := options.get(name)) is not None and not os.path.isabs(path):
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} {path}: a service needs the full path, {os.path.abspath(path)}.", context)
    if options.get("systemd"):
        raise click.UsageError("--systemd is for services of systemd.", context)
    return options
