"""What ``proactor-echo tcp`` serves, as its options say: in this process, or in each of several workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from proactor_echo.cli.background import Output
from proactor_echo.cli.framing import make_codec
from proactor_echo.cli.hexdump import DumpingEchoProtocol
from proactor_echo.cli.limits import make_proxy
from proactor_echo.cli.output import LogFormat
from proactor_echo.cli.tls import TlsOptions, make_tls
from proactor_echo.cli.worker_output import output_of_worker
from proactor_echo.net.rates import as_rate
from proactor_echo.net.tcp.deadlines import Deadlines
from proactor_echo.net.tcp.limits import Limits
from proactor_echo.net.tcp.serve import serve_tcp
from proactor_echo.net.tcp.server import Server
from proactor_echo.rfc862 import EchoProtocol
from proactor_echo.sockets.options import SocketOptions

if TYPE_CHECKING:
    from proactor_echo.net.tcp.tls.description import Tls

__all__ = ["TcpService", "WorkerOptions", "start_worker"]


class WorkerOptions(TypedDict):
    """The options of several processes; ``workers`` is None without them."""

    workers: int | Literal["auto"] | None
    balance: Literal["inherit", "reuseport", "handoff"] | None
    worker_timeout: float | None


@dataclasses.dataclass(frozen=True)
class TcpService:
    """The options that are the same wherever it is served; all of them can be pickled."""

    framing: str
    max_frame_length: int | None
    options: SocketOptions
    accepts: int
    limits: Limits
    deadlines: Deadlines
    proxy_from: Sequence[str]
    tls: TlsOptions | None
    hex_dump: bool
    log_level: int
    log_format: LogFormat

    def make_tls(self) -> Tls | None:
        """Load the certificates; None without TLS. Raises TlsError."""
        return None if self.tls is None else make_tls(self.tls)

    def serve(self, output: Output, tls: Tls | None, **where: Any) -> Awaitable[Server]:
        """Start a server; ``where`` is what :func:`serve_tcp` is told of where to listen."""
        return serve_tcp(
            protocol_factory=(lambda: DumpingEchoProtocol(output.err_line)) if self.hex_dump else EchoProtocol,
            codec=make_codec(self.framing, self.max_frame_length),
            ssl=tls,
            options=self.options,
            accepts=self.accepts,
            limits=self.limits,
            proxy=make_proxy(self.proxy_from),
            deadlines=self.deadlines,
            **where,
        )

    def share_of(self, workers: int) -> TcpService:
        """Return what one of so many workers serves: its part of the limits of the whole server."""
        limits = self.limits
        rate = as_rate("accept_rate", limits.accept_rate)
        return dataclasses.replace(
            self,
            limits=dataclasses.replace(
                limits,
                connections=limits.connections and -(-limits.connections // workers),
                max_buffered=limits.max_buffered and -(-limits.max_buffered // workers),
                accept_rate=None if rate is None else rate.share(workers),
            ),
        )


async def start_worker(service: TcpService) -> Server:
    """Serve in this process, a worker."""
    output = output_of_worker(service.log_level, service.log_format)
    return await service.serve(output, service.make_tls(), adopting=True)
