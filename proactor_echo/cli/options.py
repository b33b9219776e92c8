"""Options that several commands have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from proactor_echo.cli.commands import HostName
from proactor_echo.cli.types import (
    ByteSize,
    CountOrAuto,
    HostPort,
    LimitOrOff,
    MinRate,
    NetworkText,
    RateOrOff,
    Seconds,
)

__all__ = [
    "address_options",
    "choice_option",
    "deadline_options",
    "guard_options",
    "limit_options",
    "loop_option",
    "metrics_option",
    "output_options",
    "proxy_option",
    "systemd_option",
    "tls_options",
    "value_option",
    "worker_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def address_options(command: Command) -> Command:
    """Add the options that say where to listen: ``hosts``, ``port``, ``ipv6_only``, ``no_exclusive``."""
    return _add(command, _ADDRESS)


def output_options(command: Command) -> Command:
    """Add the options of what is printed: ``hex_dump``, ``stats``, ``log_format``, ``verbose``, ``quiet``."""
    return _add(command, _OUTPUT)


def limit_options(command: Command) -> Command:
    """Add the options that say who may connect: those of :class:`~proactor_echo.cli.limits.LimitOptions`."""
    return _add(command, _LIMITS)


def deadline_options(command: Command) -> Command:
    """Add the options that say how long: those of :class:`~proactor_echo.cli.limits.DeadlineOptions`."""
    return _add(command, _DEADLINES)


def guard_options(command: Command) -> Command:
    """Add the options of ``udp`` that say what is not answered: ``guard``, ``rate``, ``rate_per_source``."""
    return _add(command, _GUARD)


def tls_options(command: Command) -> Command:
    """Add the options that say how to speak TLS: those of :class:`~proactor_echo.cli.tls.TlsOptions`."""
    return _add(command, _TLS)


def proxy_option(command: Command) -> Command:
    """Add the option that says who must send PROXY headers: ``proxy_from``."""
    return _add(command, _PROXY)


def worker_options(command: Command) -> Command:
    """Add the options of several processes: ``workers``, ``balance`` and ``worker_timeout``."""
    return _add(command, [_WORKER_COUNT, _BALANCE, _WORKER_TIMEOUT])


def udp_worker_options(command: Command) -> Command:
    """Add the options of several processes that serve UDP: ``workers`` and ``worker_timeout``."""
    return _add(command, [_WORKER_COUNT, _WORKER_TIMEOUT])


def systemd_option(command: Command) -> Command:
    """Add the option that has systemd told how the service does, and its sockets taken: ``systemd``."""
    return _add(command, _SYSTEMD)


def metrics_option(command: Command) -> Command:
    """Add the option that says where to tell monitoring systems how it goes: ``metrics``, a host and a port."""
    return _add(command, _METRICS)


def loop_option(command: Command) -> Command:
    """Add the option that says on which event loop to run: ``loop``, ``"own"`` or ``"stock"``."""
    return _add(command, _LOOP)


def value_option(
    name: str, metavar: str, kind: click.ParamType[Any], default: Any, text: str
) -> Callable[[Command], Command]:
    """Return an option that has a value, whose default the help shows."""
    return click.option(name, metavar=metavar, type=kind, default=default, show_default=True, help=text)


def choice_option(name: str, choices: Sequence[str], default: str, text: str) -> Callable[[Command], Command]:
    """Return an option that is one of some words, whose default the help shows."""
    return click.option(name, type=click.Choice(choices), default=default, show_default=True, help=text)


def _add(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):  # as a stack of decorators: the last one is the first in the help
        command = option(command)
    return command


_ADDRESS: Final = (
    click.option(
        "--host",
        "hosts",
        metavar="HOST",
        type=HostName(),
        multiple=True,
        help="Address or name to listen on; repeat it for several. 0.0.0.0 is all of IPv4, :: is all of IPv6 and IPv4."
        "  [default: 127.0.0.1]",
    ),
    click.option(
        "-p",
        "--port",
        metavar="PORT",
        type=click.IntRange(0, 65535),
        default=9000,
        show_default=True,
        help="Port to listen on; 0 takes a free one.",
    ),
    click.option("--ipv6-only", is_flag=True, help="Take IPv6 alone; the default host is then ::1."),
    click.option("--no-exclusive", is_flag=True, help="On Windows, let other programs bind the port too."),
)

_LIMITS: Final = (
    value_option("--max-connections", "N|off", LimitOrOff(), 10_000, "Connections served at once; more of them wait."),
    value_option(
        "--max-connections-per-source",
        "N|off",
        LimitOrOff(),
        1_000,
        "Connections at once from one IPv4 address or IPv6 /64, and 4 times as many from an IPv6 /48; "
        "more are refused.",
    ),
    value_option(
        "--accept-rate", "N[/BURST]|off", RateOrOff(), "off", "Connections accepted in a second; more of them wait."
    ),
    value_option(
        "--accept-rate-per-source",
        "N[/BURST]|off",
        RateOrOff(),
        "off",
        "Connections in a second from one source; more are refused.",
    ),
    click.option(
        "--allow",
        metavar="CIDR",
        type=NetworkText(),
        multiple=True,
        help="Serve this network, and no other that is not allowed; repeat it for several.",
    ),
    click.option(
        "--deny",
        metavar="CIDR",
        type=NetworkText(),
        multiple=True,
        help="Refuse this network; the longest prefix wins. Repeat it for several.",
    ),
    value_option(
        "--max-buffered",
        "SIZE|off",
        ByteSize(1, 1 << 40, can_be_off=True),
        "512m",
        "Memory for unfinished frames and unsent output; above it, those that hold the most are ended.",
    ),
)


def _deadline(name: str, default: str, what: str) -> Callable[[Any], Any]:
    return value_option(name, "SECONDS|off", Seconds(can_be_off=True), default, what)


_DEADLINES: Final = (
    _deadline("--first-byte-timeout", "60", "End connections on which nothing came for so long after they began."),
    _deadline("--frame-timeout", "60", "End connections whose frame is not complete so long after its first byte."),
    _deadline("--idle-timeout", "off", "End connections that are silent for so long; 90s, 5m and 1h are times too."),
    _deadline("--write-timeout", "60", "End connections whose peer takes nothing of its answer for so long."),
    _deadline("--lifetime", "off", "End connections that are so old, 10 % more or less."),
    value_option(
        "--min-rate",
        "BYTES,GRACE|off",
        MinRate(),
        "240,30",
        "End connections whose unfinished frame or unsent answer moves by fewer bytes a second, "
        "on average, after GRACE seconds.",
    ),
)

_GUARD: Final = (
    choice_option(
        "--guard",
        ["on", "log", "off"],
        "on",
        "Do not answer our own answers, other responders and addresses that cannot answer; "
        "log only counts them, and answers.",
    ),
    value_option("--rate", "N[/BURST]|off", RateOrOff(), "off", "Datagrams answered in a second."),
    value_option(
        "--rate-per-source",
        "N[/BURST]|off",
        RateOrOff(),
        "1000/2000",
        "Datagrams answered in a second to one IPv4 address or IPv6 /64, loopback apart.",
    ),
)

_PROXY: Final = (
    click.option(
        "--proxy-from",
        metavar="CIDR",
        type=NetworkText(),
        multiple=True,
        help="Load balancers of this network say in a PROXY header whose connections they hand on; "
        "nobody else is served. Repeat it for several.",
    ),
)

_WORKER_COUNT: Final = click.option(
    "--workers",
    metavar="N|auto",
    type=CountOrAuto(),
    help="Serve with so many processes; auto is one for each processor that may be used.  [default: this one]",
)
_BALANCE: Final = click.option(
    "--balance",
    type=click.Choice(["inherit", "reuseport", "handoff"]),
    help="Who accepts with --workers: all of them, on one listener; each on its own, if the system shares out; or "
    "one process that hands connections over, to the worker that has the fewest.  "
    "[default: inherit; on Windows handoff]",
)
_WORKER_TIMEOUT: Final = value_option(
    "--worker-timeout",
    "SECONDS|off",
    Seconds(can_be_off=True),
    "off",
    "Kill a worker whose event loop has not gone on for so long; after 5 seconds it is reported.",
)

_SYSTEMD: Final = (
    click.option(
        "--systemd",
        is_flag=True,
        help="Serve the sockets that systemd has bound, if it has, and tell it how the service does.",
    ),
)

_METRICS: Final = (
    click.option(
        "--metrics",
        metavar="HOST:PORT",
        type=HostPort(listening=True),
        help="Answer /metrics (Prometheus), /healthz, /readyz and /stats over HTTP there; port 0 takes a free one.",
    ),
)

_LOOP: Final = (
    choice_option("--loop", ["own", "stock"], "own", "Run on the event loop of this package, or on asyncio's own."),
)

_TLS: Final = (
    click.option("--tls-cert", metavar="FILE", help="Speak TLS, with the certificate and its chain in this PEM file."),
    click.option("--tls-key", metavar="FILE", help="PEM file of its private key, unless that is in --tls-cert too."),
    click.option("--tls-key-password-file", metavar="FILE", help="File whose first line is the key's password."),
    click.option("--tls-client-ca", metavar="FILE", help="PEM file of the authorities that sign client certificates."),
    click.option(
        "--tls-verify",
        type=click.Choice(["none", "optional", "required"]),
        help="Whether clients must show a certificate.  [default: required with --tls-client-ca, else none]",
    ),
    choice_option("--tls-min", ["1.2", "1.3"], "1.2", "Lowest version of TLS."),
    click.option("--tls-keylog", metavar="FILE", help="Add every connection's secrets to this file, for Wireshark."),
)

_OUTPUT: Final = (
    click.option("--hex-dump", is_flag=True, help="Show every byte that comes and goes, on stderr."),
    click.option("--stats", is_flag=True, help="Print all counters at the end, as a line of JSON on stderr."),
    choice_option(
        "--log-format",
        ["text", "json"],
        "text",
        "How the log is written on stderr: for people, or a JSON object a line.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Print how every connection ended, not only the bad ones."),
    click.option("-q", "--quiet", is_flag=True, help="Print the listening and stopped lines and errors only."),
)
