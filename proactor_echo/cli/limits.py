"""Limits, deadlines, load balancers and the guard for the command line: what the options ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import click

from proactor_echo.net.proxy_protocol import ProxyProtocol
from proactor_echo.net.rates import Rate
from proactor_echo.net.tcp.deadlines import Deadlines
from proactor_echo.net.tcp.limits import Limits
from proactor_echo.net.udp.guard import UdpGuard

__all__ = ["DeadlineOptions", "LimitOptions", "make_deadlines", "make_guard", "make_limits", "make_proxy"]


class LimitOptions(TypedDict):
    """The options that say how many may connect, how often, and from where."""

    max_connections: int | None
    max_connections_per_source: int | None
    accept_rate: Rate | None
    accept_rate_per_source: Rate | None
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    max_buffered: int | None


def make_limits(given: LimitOptions) -> Limits:
    """Return the limits. Raises click.UsageError for options that make no sense together."""
    per_source = given["max_connections_per_source"]
    try:
        return Limits(
            connections=given["max_connections"],
            connections_per_source=per_source,
            # Whoever has a /48 has 65,536 networks of 64 bits.
            connections_per_network=None if per_source is None else 4 * per_source,
            accept_rate=given["accept_rate"],
            accept_rate_per_source=given["accept_rate_per_source"],
            allow=given["allow"],
            deny=given["deny"],
            max_buffered=given["max_buffered"],
        )
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None


class DeadlineOptions(TypedDict):
    """The options that say how long a connection may take for what, in seconds."""

    first_byte_timeout: float | None
    frame_timeout: float | None
    idle_timeout: float | None
    write_timeout: float | None
    lifetime: float | None
    min_rate: tuple[float, float] | None


def make_deadlines(given: DeadlineOptions) -> Deadlines:
    """Return the deadlines."""
    return Deadlines(
        first_byte=given["first_byte_timeout"],
        frame=given["frame_timeout"],
        idle=given["idle_timeout"],
        write=given["write_timeout"],
        lifetime=given["lifetime"],
        min_rate=given["min_rate"],
    )


def make_proxy(networks: Sequence[str]) -> ProxyProtocol | None:
    """Return who must send PROXY headers; None for nobody."""
    return ProxyProtocol(networks) if networks else None


def make_guard(
    mode: Literal["on", "log", "off"], rate: Rate | None, rate_per_source: Rate | None
) -> UdpGuard | Literal[False]:
    """Return the guard of a UDP server; False for none."""
    if mode == "off":
        return False
    return UdpGuard(mode="drop" if mode == "on" else "log", rate=rate, rate_per_source=rate_per_source)
