"""The states of a connection and the transitions between them, as a table.

A TCP connection is two streams, one each way, and each ends by itself (half-close). So there is more than one way from
"open" to "closed": either side may end its stream first (an end of file, a FIN), and the other may go on sending for as
long as it likes. An echo server needs that: after the client's end of file it still has to send back every byte that
has not been sent back yet.

States, and what may be done in them:

=========  ==========================================================  =======  ====
state      meaning                                                     receive  send
=========  ==========================================================  =======  ====
OPENING    being connected or accepted                                 no       no
OPEN       both streams run                                            yes      yes
PEER_EOF   the peer has finished; we still send                        no       yes
OUR_EOF    we have finished; the peer still sends                      yes      no
CLOSING    both have finished, or we want no more; what was written    no       no
           before is still being sent
CLOSED     the end                                                     no       no
=========  ==========================================================  =======  ====

("Receive" is about what may still arrive. What has arrived and lies in a queue can be read in any state.)

Three events are calls of the program: SEND_EOF, CLOSE and ABORT. At the wrong time they are an error in the program.
Three events come from the network: CONNECTED, PEER_EOF and LOST.

Rules that the table follows:

* After both ends of file the state is CLOSING, whichever came first: only flushing is left.
* CLOSE is allowed at any time, and a second one changes nothing. Before the connection is there, there is nothing to
  flush, so it leads to CLOSED.
* ABORT leads from every state to CLOSED, and so does LOST, its counterpart from the network. Both may also come in
  CLOSED, since one follows the other.
* A peer can send end of file only once, but the stock proactor loop reports it twice when it comes while reading is
  paused, so a second one changes nothing. It may also come in CLOSING, and changes nothing there.
* SEND_EOF after SEND_EOF or CLOSE is an error.

A pair of state and event that is not in the table raises ProtocolStateError.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proactor_echo.errors import ProtocolStateError

__all__ = ["MAY_RECEIVE", "MAY_SEND", "TRANSITIONS", "ConnectionState", "Event", "next_state"]


class ConnectionState(enum.StrEnum):
    """The state of a connection."""

    OPENING = "opening"
    OPEN = "open"
    PEER_EOF = "peer_eof"
    OUR_EOF = "our_eof"
    CLOSING = "closing"
    CLOSED = "closed"


class Event(enum.StrEnum):
    """What can happen to a connection."""

    CONNECTED = "connected"
    PEER_EOF = "peer_eof"
    SEND_EOF = "send_eof"
    CLOSE = "close"
    ABORT = "abort"
    LOST = "lost"


_S = ConnectionState
_E = Event

#: The next state for each pair of state and event.
TRANSITIONS: Final[Mapping[tuple[ConnectionState, Event], ConnectionState]] = MappingProxyType(
    {
        (_S.OPENING, _E.CONNECTED): _S.OPEN,
        (_S.OPENING, _E.CLOSE): _S.CLOSED,
        #
        (_S.OPEN, _E.PEER_EOF): _S.PEER_EOF,
        (_S.OPEN, _E.SEND_EOF): _S.OUR_EOF,
        (_S.OPEN, _E.CLOSE): _S.CLOSING,
        #
        (_S.PEER_EOF, _E.PEER_EOF): _S.PEER_EOF,
        (_S.PEER_EOF, _E.SEND_EOF): _S.CLOSING,
        (_S.PEER_EOF, _E.CLOSE): _S.CLOSING,
        #
        (_S.OUR_EOF, _E.PEER_EOF): _S.CLOSING,
        (_S.OUR_EOF, _E.CLOSE): _S.CLOSING,
        #
        (_S.CLOSING, _E.PEER_EOF): _S.CLOSING,
        (_S.CLOSING, _E.CLOSE): _S.CLOSING,
        #
        (_S.CLOSED, _E.CLOSE): _S.CLOSED,
        # From anywhere.
        **{(state, _E.ABORT): _S.CLOSED for state in _S},
        **{(state, _E.LOST): _S.CLOSED for state in _S},
    }
)

#: The states in which the peer may still send.
MAY_RECEIVE: Final = frozenset((_S.OPEN, _S.OUR_EOF))
#: The states in which we may still send.
MAY_SEND: Final = frozenset((_S.OPEN, _S.PEER_EOF))


def next_state(state: ConnectionState, event: Event) -> ConnectionState:
    """Return what ``event`` makes of ``state``.

    Raises :class:`~proactor_echo.errors.ProtocolStateError` if it is not allowed in this state.
    """
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise ProtocolStateError(f"{_WORDS[event]} is not possible while the connection is {_WORDS_FOR[state]}")
    return after


_WORDS: Final = {
    Event.CONNECTED: "connecting",
    Event.PEER_EOF: "an end of file from the peer",
    Event.SEND_EOF: "sending an end of file",
    Event.CLOSE: "closing",
    Event.ABORT: "aborting",
    Event.LOST: "losing the connection",
}

_WORDS_FOR: Final = {
    ConnectionState.OPENING: "opening",
    ConnectionState.OPEN: "open",
    ConnectionState.PEER_EOF: "past the peer's end of file",
    ConnectionState.OUR_EOF: "past our end of file",
    ConnectionState.CLOSING: "closing",
    ConnectionState.CLOSED: "closed",
}
