"""Every private name of asyncio this package uses, in one place.

Each was read in the sources of CPython 3.11.7, 3.12.1, 3.13.0, 3.14.2, 3.14.10 and 3.15.2 (``Lib/asyncio``,
``Lib/selectors.py``), and compared as a syntax tree from one to the next. What differs, and matters here:

===========================  =============================================================================
3.12: transports' factories  ``_make_socket_transport`` and its like refuse a descriptor that is in use
3.13: ``Server._attach``     and ``_detach`` are given the transport (gh-79033)
3.13: ``run_forever``        is split into ``_run_forever_setup``, the loop and ``_run_forever_cleanup``; ours
                             overrides the whole and calls ``super``, which holds for both shapes
3.14: ``run_forever``        calls the setup outside its ``try``
3.14: ``SSLProtocol``        asks its transport ``is_closing()``; 3.14.10's times out until ``connection_lost``
3.14: event loop policies    have an underscore in front; only the comparison with CPython's tests knows them
3.15: ``_start_serving``     is given the context in which its server was made, and the factories of transports for
                             streams and TLS the context of their connection
3.15: ``_run_once``          runs a timer that is due now even where the clock's resolution is lost in rounding
===========================  =============================================================================

Nothing else in the package may touch a private name of asyncio. :func:`missing` says which of them the running Python
lacks; a Python that lacks one gets the stock event loop and a warning instead of ours (see :mod:`proactor_echo.loops`).

Names that asyncio looks up on *our* transports are part of the same bargain, in the other direction:

========================  ==================================================================================
``_loop``                 ``base_events._SendfileFallbackProtocol``
``_protocol_paused``      ``base_events._SendfileFallbackProtocol``, and a subclass of ``_FlowControlMixin``
``_sock``                 ``_sendfile_native`` of both stock loops
``_force_close``          ``sslproto.SSLProtocol``
``_make_empty_waiter``    ``_sendfile_native`` of both stock loops
``_reset_empty_waiter``   the same
``_start_tls_compatible``  ``loop.start_tls``, for TLS in TLS
``_sendfile_compatible``  ``loop.sendfile``
========================  ==================================================================================
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
import socket
import sys
from asyncio import base_events, constants, transports, trsock
from typing import TYPE_CHECKING, Any, Final

WINDOWS: Final = sys.platform == "win32"

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    class FlowControlMixin(asyncio.Transport):
        """``transports._FlowControlMixin``: write buffer limits and the calls of pause_writing, resume_writing."""

        _extra: dict[str, Any] | None
        _loop: Any
        _protocol_paused: bool
        _high_water: int
        _low_water: int

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    class StockLoop(asyncio.SelectorEventLoop):
        """What ours overrides or calls in ``base_events.BaseEventLoop`` and in the stock loop of the platform."""

        _closed: bool
        _csock: Any
        _debug: bool
        _ready: deque[asyncio.Handle]
        _scheduled: list[asyncio.TimerHandle]
        _ssock: Any
        _timer_cancelled_count: int
        _selector: Any
        _transports: Any
        _proactor: Any
        slow_callback_duration: float

        def _run_once(self) -> None: ...
        def _process_events(self, event_list: Any) -> None: ...
        def _ensure_fd_no_transport(self, fd: Any) -> None: ...
        def _check_closed(self) -> None: ...
        def _close_self_pipe(self) -> None: ...
        def _make_self_pipe(self) -> None: ...
        def _process_self_data(self, data: bytes) -> None: ...
        def _read_from_self(self) -> None: ...
        def _write_to_self(self) -> None: ...
        def _loop_self_reading(self, f: asyncio.Future[bytes] | None = None) -> None: ...
        def _stop_serving(self, sock: Any) -> None: ...

    class EpollSelector(selectors.DefaultSelector):
        """``selectors.EpollSelector`` with its epoll object and its registrations by descriptor."""

        _selector: Any
        _fd_to_key: dict[int, selectors.SelectorKey]

else:
    FlowControlMixin = getattr(transports, "_FlowControlMixin", transports.Transport)
    StockLoop = asyncio.ProactorEventLoop if WINDOWS else asyncio.SelectorEventLoop
    EpollSelector = getattr(selectors, "EpollSelector", None)

Server = asyncio.Server
TransportSocket: Any = getattr(trsock, "TransportSocket", None)
SENDFILE_TRY_NATIVE: Any = getattr(getattr(constants, "_SendfileMode", None), "TRY_NATIVE", None)
SENDFILE_FALLBACK: Any = getattr(getattr(constants, "_SendfileMode", None), "FALLBACK", None)

# Python 3.13 made Server keep its transports: _attach(transport) instead of _attach() (gh-79033).
_SERVER_TAKES_TRANSPORT: Final = "transport" in getattr(
    inspect.signature(getattr(Server, "_attach", print)), "parameters", ()
)

_LOOP_NAMES: Final = (
    "_run_once",
    "_process_events",
    "_make_socket_transport",
    "_make_ssl_transport",
    "_make_datagram_transport",
    "_start_serving",
    "_stop_serving",
    "_sendfile_native",
    "_check_closed",
)
_SELECTOR_LOOP_NAMES: Final = (
    "_ensure_fd_no_transport",
    "_process_self_data",
    "_read_from_self",
    "_write_to_self",
)
_HANDLE_NAMES: Final = ("_args", "_callback", "_cancelled", "_context", "_loop", "_repr", "_source_traceback")
_TIMER_NAMES: Final = ("_scheduled", "_when")
_MIXIN_NAMES: Final = ("_maybe_pause_protocol", "_maybe_resume_protocol", "_protocol_paused")


def missing() -> list[str]:
    """List the private names this Python lacks, dotted; none on a Python this package was read against."""
    wanted: list[tuple[Any, str]] = [
        (transports, "_FlowControlMixin"),
        (trsock, "TransportSocket"),
        (constants, "_SendfileMode"),
        (base_events, "Server"),
        (Server, "_attach"),
        (Server, "_detach"),
        *((StockLoop, name) for name in _LOOP_NAMES),
        *((asyncio.Handle, name) for name in _HANDLE_NAMES),
        *((asyncio.TimerHandle, name) for name in _TIMER_NAMES),
    ]
    if not WINDOWS:
        wanted += [(StockLoop, name) for name in _SELECTOR_LOOP_NAMES]
    mixin = getattr(transports, "_FlowControlMixin", None)
    wanted += [(mixin, name) for name in _MIXIN_NAMES]
    lacking = [f"{getattr(owner, '__name__', owner)}.{name}" for owner, name in wanted if not hasattr(owner, name)]
    if sys.platform == "win32":
        from proactor_echo.loops.iocp import private as windows

        lacking += windows.missing()
    return lacking


def attach(server: Any, transport: Any) -> None:
    """Count ``transport`` among the connections of ``server`` (``Server.wait_closed`` waits for them)."""
    if _SERVER_TAKES_TRANSPORT:
        server._attach(transport)
    else:
        server._attach()


def stream_buffer(protocol: Any) -> bytearray:
    """Return what is received and not yet read of asyncio's streams; empty for any other protocol."""
    reader = getattr(protocol, "_stream_reader", None) if isinstance(protocol, asyncio.StreamReaderProtocol) else None
    buffer: bytearray = getattr(reader, "_buffer", None) or bytearray()
    return buffer


def keep_streams_open(protocol: Any) -> None:
    """Have asyncio's streams go on after the peer's end over TLS, as they do over TCP.

    They have the connection closed there for the one reason that asyncio's TLS warns when it is to stay open. An answer
    that takes a moment would be lost.
    """
    if isinstance(protocol, asyncio.StreamReaderProtocol):
        protocol._over_ssl = False  # type: ignore[attr-defined]


def detach(server: Any, transport: Any) -> None:
    """Undo :func:`attach`; to be called exactly once for each."""
    if _SERVER_TAKES_TRANSPORT:
        server._detach(transport)
    else:
        server._detach()


_STOCK_ACCEPT: Any = socket.socket.accept


def accepts_as_stock(listener: socket.socket) -> bool:
    """Whether ``listener.accept`` is the standard library's, so that :func:`quick_accept` does the same."""
    return type(listener) is socket.socket and socket.socket.accept is _STOCK_ACCEPT


def quick_accept(listener: socket.socket) -> Callable[[], tuple[socket.socket, Any]]:
    """Return ``listener.accept`` in half the time, for a readiness loop.

    ``socket.accept`` asks the listener for its family and type each time, and makes members of an enumeration of them.
    What it returns may block, even where the standard library's does not, by ``socket.setdefaulttimeout()``.
    """
    new, family, kind, protocol = socket.socket, listener.family, listener.type, listener.proto
    accept_descriptor = listener._accept  # type: ignore[attr-defined]  # of the socket module, from Python 3.4 on

    def accept() -> tuple[socket.socket, Any]:
        descriptor, peer = accept_descriptor()
        return new(family, kind, protocol, descriptor), peer

    return accept
