"""Binding TCP and UDP sockets, which is done alike."""

import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from proactor_echo.sockets.binding import bind_udp_sockets, listen_tcp

Bind = Callable[..., Awaitable[list[socket.socket]]]
both_kinds = pytest.mark.parametrize("bind", [listen_tcp, bind_udp_sockets], ids=["tcp", "udp"])


@contextmanager
def closed_at_end(sockets: Sequence[socket.socket]) -> Iterator[list[tuple[Any, ...]]]:
    """Close the sockets at the end; meanwhile hand out their addresses."""
    with ExitStack() as stack:
        for sock in sockets:
            stack.enter_context(sock)
        yield [sock.getsockname() for sock in sockets]
