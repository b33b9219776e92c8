"""What ``proactor-echo udp`` serves, as its options say: in this process, or in each of several workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Sequence
from typing import Any, Literal, TypedDict

from proactor_echo.cli.background import Output
from proactor_echo.cli.hexdump import DumpingEchoDatagramProtocol
from proactor_echo.cli.limits import make_guard, make_proxy
from proactor_echo.cli.output import LogFormat
from proactor_echo.cli.worker_output import output_of_worker
from proactor_echo.net.rates import Rate
from proactor_echo.net.udp import UdpServer, serve_udp
from proactor_echo.net.udp.handler import Oversize
from proactor_echo.rfc862 import EchoDatagramProtocol
from proactor_echo.sockets.options import SocketOptions

__all__ = ["UdpService", "UdpWorkerOptions", "start_worker"]


class UdpWorkerOptions(TypedDict):
    """The options of several processes; ``workers`` is None without them."""

    workers: int | Literal["auto"] | None
    worker_timeout: float | None


@dataclasses.dataclass(frozen=True)
class UdpService:
    """The options that are the same wherever it is served; all of them can be pickled."""

    options: SocketOptions
    max_datagram: int
    oversize: Oversize
    guard: Literal["on", "log", "off"]
    rate: Rate | None
    rate_per_source: Rate | None
    proxy_from: Sequence[str]
    hex_dump: bool
    log_level: int
    log_format: LogFormat

    def serve(self, output: Output, **where: Any) -> Awaitable[UdpServer]:
        """Start a server; ``where`` is what :func:`serve_udp` is told of where to listen."""

        def protocol() -> EchoDatagramProtocol:
            if not self.hex_dump:
                return EchoDatagramProtocol(max_datagram=self.max_datagram, oversize=self.oversize)
            return DumpingEchoDatagramProtocol(output.err_line, max_datagram=self.max_datagram, oversize=self.oversize)

        return serve_udp(
            protocol,
            options=self.options,
            guard=make_guard(self.guard, self.rate, self.rate_per_source),
            proxy=make_proxy(self.proxy_from),
            **where,
        )

    def share_of(self, workers: int) -> UdpService:
        """Return what one of so many workers serves: its part of the rate of the whole server."""
        return dataclasses.replace(self, rate=None if self.rate is None else self.rate.share(workers))


async def start_worker(service: UdpService) -> UdpServer:
    """Serve in this process, a worker."""
    return await service.serve(output_of_worker(service.log_level, service.log_format), adopting=True)
