"""The command classes: how a command ends on Ctrl+C, and messages for a wrong argument."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from proactor_echo.cli.output import READER_GONE, discard, print_err
from proactor_echo.cli.types import ParamType
from proactor_echo.sockets.addresses import parse_host_port

__all__ = ["CommandGroup", "HostName", "ServerCommand"]

#: What a shell says of a program that Ctrl+C ended: 128 and the number of SIGINT.
INTERRUPTED: Final = 130


class CommandGroup(click.Group):
    """The commands. Ctrl+C ends them quietly; a help page that cannot be written is one sentence."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line, see :meth:`click.Group.main`."""
        try:
            return super().main(*args, **options)
        except OSError as error:  # of click's own output
            discard(sys.stdout)
            if error.errno not in READER_GONE:
                print_err(f"Error: cannot write to standard output: {error.strerror or error}")
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, see :meth:`click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


class ServerCommand(click.Command):
    """A command without arguments, that says by which option an address is given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options, see :meth:`click.Command.parse_args`."""
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            ctx.fail(f"Got unexpected extra argument ({ctx.args[0]}): write {_as_options(ctx.args[0])}.")
        return rest


class HostName(ParamType[str]):
    """A host, as text. One with a port is refused, with the options to write instead."""

    name = "host"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the host, or fail with a usage error."""
        text = str(value)
        if "://" in text:
            self.fail(f"{text!r} is a URL: write the host alone, as in --host 127.0.0.1 --port 9000.", param, ctx)
        if (options := _with_port(text)) is not None:
            self.fail(f"{text!r} has a port: write {options}.", param, ctx)
        return text


def _as_options(argument: str) -> str:
    """Return the options that were probably meant."""
    if argument.isascii() and argument.isdigit():
        return f"--port {argument}"
    return _with_port(argument) or "--host HOST or --port PORT"


def _with_port(text: str) -> str | None:
    """Return the two options that HOST:PORT stands for, None if it is no such thing."""
    try:
        host, port = parse_host_port(text)
    except ValueError:
        return None
    return f"--host {host} --port {port}"
