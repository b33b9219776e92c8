"""Conformance checks for echo servers, codecs and event loops.

* :func:`check_echo`: RFC 862 against any echo server, over TCP or UDP.
* :func:`assert_split_invariant`, :func:`assert_round_trip`: what every codec must do, for one of your own.
* :func:`check_transport`: the requirements of asyncio's stream and datagram transports, on any event loop.
"""

from __future__ import annotations

from proactor_echo.testing.conformance.codecs import AnyCodec, AnyDecoder, assert_round_trip, assert_split_invariant
from proactor_echo.testing.conformance.echo.run import check_echo
from proactor_echo.testing.conformance.report import Outcome, Report, Result
from proactor_echo.testing.conformance.transport.run import PROMISES, check_transport

__all__ = [
    "PROMISES",
    "AnyCodec",
    "AnyDecoder",
    "Outcome",
    "Report",
    "Result",
    "assert_round_trip",
    "assert_split_invariant",
    "check_echo",
    "check_transport",
]
