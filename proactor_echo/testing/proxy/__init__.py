"""Proxies that put faults between a client and a server, over TCP and UDP."""

from __future__ import annotations

from proactor_echo.sockets.addresses import Address
from proactor_echo.testing.proxy.tcp import FaultProxy
from proactor_echo.testing.proxy.udp import UdpFaultProxy

__all__ = ["FaultProxy", "UdpFaultProxy", "fault_proxy", "udp_fault_proxy"]


async def fault_proxy(upstream: Address, *, host: str = "127.0.0.1", seed: int = 0) -> FaultProxy:
    """Put a TCP proxy on a free port in front of ``upstream``, a ``(host, port)``, and return it.

    Use it in ``async with``. ``seed`` is what faults without a seed of their own get theirs from.
    Raises :class:`~proactor_echo.BindError`.
    """
    return await FaultProxy.open(upstream, host=host, seed=seed)


async def udp_fault_proxy(upstream: Address, *, host: str = "127.0.0.1", seed: int = 0) -> UdpFaultProxy:
    """Put a UDP proxy on a free port in front of ``upstream``; the rest is as for :func:`fault_proxy`."""
    return await UdpFaultProxy.open(upstream, host=host, seed=seed)
