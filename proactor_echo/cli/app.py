"""The command line, ``proactor-echo``: read the options, start what they ask for, print."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypedDict, Unpack

import click

from proactor_echo import __version__
from proactor_echo.cli.background import Output, background_output
from proactor_echo.cli.bench import bench
from proactor_echo.cli.check import client_context, show_check
from proactor_echo.cli.commands import CommandGroup, ServerCommand
from proactor_echo.cli.control_events import Request, send
from proactor_echo.cli.demo import run_demo
from proactor_echo.cli.doctor.commands import doctor
from proactor_echo.cli.framing import FRAMINGS, LONGEST_FRAME, make_codec
from proactor_echo.cli.limits import DeadlineOptions, LimitOptions, make_deadlines, make_limits
from proactor_echo.cli.options import (
    address_options,
    choice_option,
    deadline_options,
    guard_options,
    limit_options,
    loop_option,
    metrics_option,
    output_options,
    proxy_option,
    systemd_option,
    tls_options,
    udp_worker_options,
    value_option,
    worker_options,
)
from proactor_echo.cli.output import LogFormat, errors_as_sentences, logging_to_stderr, print_line
from proactor_echo.cli.serve import LoopName, run, serve_tcp_until_stopped, serve_udp_until_stopped
from proactor_echo.cli.service.commands import service as service_commands
from proactor_echo.cli.stop_signals import StopSignals
from proactor_echo.cli.systemd import NOBODY, Notifier, listening_sockets
from proactor_echo.cli.tcp_service import TcpService, WorkerOptions
from proactor_echo.cli.tls import TlsOptions, check_tls_options, reload_certificates
from proactor_echo.cli.top import top
from proactor_echo.cli.types import ByteSize, HostPort, KeepAliveTimes, Seconds
from proactor_echo.cli.udp_service import UdpService, UdpWorkerOptions
from proactor_echo.net.rates import Rate
from proactor_echo.net.stock.datagram import MAX_DATAGRAM
from proactor_echo.net.udp.handler import Oversize
from proactor_echo.sockets.options import KeepAlive, SocketOptions

__all__ = ["main"]


class TcpOptions(TlsOptions, LimitOptions, DeadlineOptions, WorkerOptions):
    """The options of ``proactor-echo tcp`` that come in groups."""


class _Common(TypedDict):
    """What every way of serving is given."""

    output: Output
    metrics: tuple[str, int] | None
    notifier: Notifier
    stats: bool


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="proactor-echo %(version)s")
def main() -> None:
    """RFC 862 echo servers: whatever is sent to them comes back.

    They listen on this machine alone (127.0.0.1) unless told otherwise, and
    stop gracefully on Ctrl+C.

    \b
    Examples:
      proactor-echo demo                      see it work
      proactor-echo tcp                       echo bytes on port 9000
      proactor-echo tcp --framing length      echo frames
      proactor-echo udp --host 0.0.0.0        echo datagrams for everybody
      proactor-echo check 127.0.0.1:9000      check any echo server
    """  # noqa: D301


@main.command(cls=ServerCommand)
@address_options
@choice_option(
    "--framing", list(FRAMINGS), "raw", "How bytes become frames. length is a 4-byte big-endian length before each."
)
@click.option(
    "--max-frame-length",
    metavar="SIZE",
    type=ByteSize(1, LONGEST_FRAME),
    help="A longer frame ends its connection.  [default: 1m, for lines 64k]",
)
@value_option("--backlog", "N", click.IntRange(1, 65535), 1024, "Connections that may wait to be accepted.")
@value_option(
    "--accepts",
    "N",
    click.IntRange(1, 1024),
    32,
    "How many AcceptEx calls wait at once for each address (Windows only).",
)
@limit_options
@deadline_options
@value_option(
    "--keepalive",
    "IDLE,INTERVAL,COUNT|off",
    KeepAliveTimes(),
    "60,5,10",
    "Probe a peer that is silent for IDLE seconds, every INTERVAL seconds; it is gone after COUNT probes.",
)
@click.option("--no-nodelay", is_flag=True, help="Let the system gather small writes (Nagle's algorithm).")
@value_option(
    "--drain", "SECONDS", Seconds(), 5.0, "How long connections may take to finish when the server is stopped."
)
@proxy_option
@worker_options
@tls_options
@systemd_option
@metrics_option
@loop_option
@output_options
def tcp(
    hosts: Sequence[str],
    port: int,
    ipv6_only: bool,
    no_exclusive: bool,
    framing: str,
    max_frame_length: int | None,
    backlog: int,
    accepts: int,
    keepalive: KeepAlive | None,
    no_nodelay: bool,
    drain: float,
    proxy_from: Sequence[str],
    systemd: bool,
    metrics: tuple[str, int] | None,
    loop: LoopName,
    hex_dump: bool,
    stats: bool,
    log_format: LogFormat,
    verbose: bool,
    quiet: bool,
    **given: Unpack[TcpOptions],
) -> None:
    """Echo over TCP, byte for byte or frame for frame.

    A client that ends its side still gets the whole echo. Ctrl+C,
    Ctrl+Break, SIGTERM and SIGHUP stop the server gracefully, a second one
    at once. With TLS, SIGHUP loads the certificate again.

    \b
    Examples:
      proactor-echo tcp --host 0.0.0.0 --host :: -p 7
      proactor-echo tcp --framing length --max-frame-length 64k
      proactor-echo tcp -p 0 --keepalive 30,5,4 --idle-timeout 300 --stats
      proactor-echo tcp --tls-cert fullchain.pem --tls-key privkey.pem
    """  # noqa: D301
    speaks_tls = check_tls_options(given)
    try:
        make_codec(framing, max_frame_length)
    except ValueError as error:
        raise click.BadOptionUsage(
            "max_frame_length", f"--max-frame-length with --framing {framing}: {error}."
        ) from None
    options = SocketOptions(
        nodelay=not no_nodelay, keepalive=keepalive, exclusive=not no_exclusive, ipv6_only=ipv6_only
    )
    service = TcpService(
        framing=framing,
        max_frame_length=max_frame_length,
        options=options,
        accepts=accepts,
        limits=make_limits(given),
        deadlines=make_deadlines(given),
        proxy_from=proxy_from,
        tls=given if speaks_tls else None,
        hex_dump=hex_dump,
        log_level=_level(verbose, quiet),
        log_format=log_format,
    )
    with _serving(verbose, quiet, log_format) as output:
        notifier = _notifier(systemd)
        where = {**_where(hosts, ipv6_only, port, systemd), "backlog": backlog}
        tls = service.make_tls()
        protocol: Literal["tcp", "tls"] = "tcp" if tls is None else "tls"
        common: _Common = {"output": output, "metrics": metrics, "notifier": notifier, "stats": stats}
        if given["workers"] is None:
            hung_up = None if tls is None else functools.partial(reload_certificates, tls, notifier)
            signals = StopSignals(ignore_afterwards=True, hung_up=hung_up, ends_with_session=notifier.ends_with_session)
            starting = service.serve(output, tls, **where)
            serving = serve_tcp_until_stopped(starting, protocol=protocol, signals=signals, drain=drain, **common)
        else:
            from proactor_echo.cli.workers import serve_workers_until_stopped, start_workers  # few want it

            start = functools.partial(start_workers, service, given, drain, loop, **where)
            serving = serve_workers_until_stopped(start, protocol=protocol, drain=drain, **common)
        run(serving, loop)


@main.command(cls=ServerCommand)
@address_options
@value_option("--max-datagram", "SIZE", ByteSize(1, MAX_DATAGRAM), str(MAX_DATAGRAM), "Longest datagram to echo.")
@choice_option("--oversize", ["truncate", "drop"], "truncate", "What to do with a longer one.")
@guard_options
@proxy_option
@udp_worker_options
@systemd_option
@metrics_option
@loop_option
@output_options
def udp(
    hosts: Sequence[str],
    port: int,
    ipv6_only: bool,
    no_exclusive: bool,
    max_datagram: int,
    oversize: Oversize,
    guard: Literal["on", "log", "off"],
    rate: Rate | None,
    rate_per_source: Rate | None,
    proxy_from: Sequence[str],
    systemd: bool,
    metrics: tuple[str, int] | None,
    loop: LoopName,
    hex_dump: bool,
    stats: bool,
    log_format: LogFormat,
    verbose: bool,
    quiet: bool,
    **given: Unpack[UdpWorkerOptions],
) -> None:
    """Echo over UDP: one datagram for each, even an empty one.

    \b
    Examples:
      proactor-echo udp --port 7
      proactor-echo udp -p 0 --max-datagram 1472 --oversize drop --stats
    """  # noqa: D301
    service = UdpService(
        options=SocketOptions(exclusive=not no_exclusive, ipv6_only=ipv6_only),
        max_datagram=max_datagram,
        oversize=oversize,
        guard=guard,
        rate=rate,
        rate_per_source=rate_per_source,
        proxy_from=proxy_from,
        hex_dump=hex_dump,
        log_level=_level(verbose, quiet),
        log_format=log_format,
    )
    with _serving(verbose, quiet, log_format) as output:
        notifier = _notifier(systemd)
        where = _where(hosts, ipv6_only, port, systemd)
        common: _Common = {"output": output, "metrics": metrics, "notifier": notifier, "stats": stats}
        if given["workers"] is None:
            signals = StopSignals(ignore_afterwards=True, ends_with_session=notifier.ends_with_session)
            serving = serve_udp_until_stopped(service.serve(output, **where), signals=signals, **common)
        else:
            from proactor_echo.cli.workers import serve_workers_until_stopped, start_udp_workers  # few want it

            start = functools.partial(start_udp_workers, service, given, loop, **where)
            serving = serve_workers_until_stopped(start, protocol="udp", **common)
        run(serving, loop)


@main.command()
@loop_option
def demo(loop: LoopName) -> None:
    """Send real traffic through real servers, show what came back.

    The exit status is 0 if everything worked, and 1 if not.
    """
    with errors_as_sentences(), logging_to_stderr(logging.ERROR):
        worked = run(run_demo(print_line, width=shutil.get_terminal_size().columns), loop)
    if not worked:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("address", metavar="HOST:PORT", type=HostPort())
@click.option("--udp", "over_udp", is_flag=True, help="Check datagrams instead of the stream.")
@click.option("--tls", "over_tls", is_flag=True, help="Check a server that speaks TLS, and how it does that.")
@click.option("--tls-ca", metavar="FILE", help="Trust the authorities in this PEM file, and not the system's.")
@click.option("--tls-insecure", is_flag=True, help="Trust any certificate, for any name.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of a table.")
@value_option(
    "--timeout", "SECONDS", Seconds(), 5.0, "Longest wait for the server; no check takes more than 12 times as long."
)
@loop_option
def check(
    address: tuple[str, int],
    over_udp: bool,
    over_tls: bool,
    tls_ca: str | None,
    tls_insecure: bool,
    as_json: bool,
    timeout: float,
    loop: LoopName,
) -> None:
    """Check any echo server against RFC 862, and show what it does.

    The exit status is 0 if every check was passed, and 1 if not, or if
    nothing listens there.

    \b
    Examples:
      proactor-echo check 127.0.0.1:9000
      proactor-echo check --udp --json [::1]:7
      proactor-echo check --tls --tls-ca ca.pem localhost:9000
    """  # noqa: D301
    if over_udp and over_tls:
        raise click.UsageError("--udp and --tls exclude each other: TLS is for streams.")
    if not over_tls and (tls_insecure or tls_ca is not None):
        raise click.UsageError("--tls-ca and --tls-insecure are for --tls: write --tls too.")
    if tls_insecure and tls_ca is not None:
        raise click.UsageError("--tls-ca and --tls-insecure exclude each other.")
    with errors_as_sentences():
        context = client_context(tls_ca, insecure=tls_insecure) if over_tls else None
        passed = run(show_check(address, udp=over_udp, as_json=as_json, timeout=timeout, context=context), loop)
    if not passed:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("pid", type=click.IntRange(1))
def stop(pid: int) -> None:
    """Ask the server in process PID to stop gracefully."""
    _ask(pid, "stop")


@main.command()
@click.argument("pid", type=click.IntRange(1))
def reload(pid: int) -> None:
    """Have the server in process PID replace its workers.

    Or load its certificates again, if it has none. SIGHUP does the same.
    """
    _ask(pid, "reload")


for _command in (bench, doctor, service_commands, top):
    main.add_command(_command)


def _ask(pid: int, request: Request) -> None:
    try:
        send(pid, request)
    except OSError as error:
        why = error.strerror or str(error)
        raise click.ClickException(f"cannot ask process {pid} to {request}: {why}") from error


def _notifier(systemd: bool) -> Notifier:
    """Return whom to tell how the service does: Windows' service control manager, systemd or nobody."""
    given = click.get_current_context().find_object(Notifier)
    return given or (Notifier.of_environment(os.environ) if systemd else NOBODY)


def _where(hosts: Sequence[str], ipv6_only: bool, port: int, systemd: bool) -> dict[str, Any]:
    """Return where to listen: on sockets of systemd's, if there are some."""
    if systemd and (sockets := listening_sockets(os.environ)):
        return {"sockets": sockets}
    return {"host": hosts or ["::1" if ipv6_only else "127.0.0.1"], "port": port}


def _level(verbose: bool, quiet: bool) -> int:
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other.")
    return logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO


@contextlib.contextmanager
def _serving(verbose: bool, quiet: bool, log_format: LogFormat) -> Iterator[Output]:
    """Print the output and the log of a server so that it never blocks on the reader."""
    level = _level(verbose, quiet)
    with (
        background_output(log_format) as output,
        errors_as_sentences(),
        logging_to_stderr(level, output.err_line, form=log_format, summarize=not verbose),
    ):
        yield output
