"""The rules of a UDP server's guard, by which it counts what it does not answer."""

from __future__ import annotations

import enum

__all__ = ["GuardRule"]


class GuardRule(enum.StrEnum):
    """Why a datagram was not answered. ``str()`` is what the statistics and the log say."""

    LOOP = "our own answers come back"
    PORT = "from the port of a responder"
    ADDRESS = "from an address that cannot answer"
    RATE = "too many datagrams"
    SOURCE_RATE = "too many datagrams from one source"
    PROXY_HEADER = "no PROXY header of a trusted load balancer"
    LONGER = "the answer is longer than the question"
