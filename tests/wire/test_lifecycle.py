"""The connection's life: every event in every state, and what may be done meanwhile."""

import itertools

import pytest

from proactor_echo.errors import ProtocolStateError
from proactor_echo.wire.lifecycle import MAY_RECEIVE, MAY_SEND, TRANSITIONS, ConnectionState, Event, next_state

# Written down a second time, by hand: a dot is what must not happen.
EXPECTED = """
            connected  peer_eof  send_eof  close    abort   lost
opening     open       .         .         closed   closed  closed
open        .          peer_eof  our_eof   closing  closed  closed
peer_eof    .          peer_eof  closing   closing  closed  closed
our_eof     .          closing   .         closing  closed  closed
closing     .          closing   .         closing  closed  closed
closed      .          .         .         closed   closed  closed
"""


def expected() -> dict[tuple[ConnectionState, Event], ConnectionState | None]:
    header, *rows = EXPECTED.strip().splitlines()
    return {
        (ConnectionState(state), Event(event)): None if after == "." else ConnectionState(after)
        for state, *afters in map(str.split, rows)
        for event, after in zip(header.split(), afters, strict=True)
    }


def test_the_table_covers_every_state_and_event() -> None:
    assert set(expected()) == set(itertools.product(ConnectionState, Event))


@pytest.mark.parametrize("state", ConnectionState)
def test_every_event_does_in_every_state_what_the_table_says_or_is_refused(state: ConnectionState) -> None:
    for event in Event:
        after = expected()[state, event]
        if after is None:
            with pytest.raises(ProtocolStateError):
                next_state(state, event)
        else:
            assert next_state(state, event) is after, event


def test_nothing_else_is_in_the_table() -> None:
    assert dict(TRANSITIONS) == {pair: after for pair, after in expected().items() if after is not None}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[ConnectionState.CLOSED, Event.CONNECTED] = ConnectionState.OPEN  # type: ignore[index]


@pytest.mark.parametrize("ends", [(Event.PEER_EOF, Event.SEND_EOF), (Event.SEND_EOF, Event.PEER_EOF)])
def test_both_ends_of_file_together_make_closing_whichever_is_first(ends: tuple[Event, Event]) -> None:
    first, second = ends
    assert next_state(next_state(ConnectionState.OPEN, first), second) is ConnectionState.CLOSING


@pytest.mark.parametrize("state", ConnectionState)
def test_a_connection_can_be_aborted_and_lost_in_any_state(state: ConnectionState) -> None:
    for first, second in itertools.permutations([Event.ABORT, Event.LOST]):
        assert next_state(state, first) is ConnectionState.CLOSED
        assert next_state(ConnectionState.CLOSED, second) is ConnectionState.CLOSED


def test_from_every_state_the_end_can_be_reached_and_not_left() -> None:
    for state in ConnectionState:
        assert TRANSITIONS[state, Event.ABORT] is ConnectionState.CLOSED
    assert {after for (before, _), after in TRANSITIONS.items() if before is ConnectionState.CLOSED} == {
        ConnectionState.CLOSED
    }


@pytest.mark.parametrize(
    ("state", "can_receive", "can_send"),
    [
        (ConnectionState.OPENING, False, False),
        (ConnectionState.OPEN, True, True),
        (ConnectionState.PEER_EOF, False, True),
        (ConnectionState.OUR_EOF, True, False),
        (ConnectionState.CLOSING, False, False),
        (ConnectionState.CLOSED, False, False),
    ],
)
def test_each_state_says_whether_bytes_may_still_come_and_go(
    state: ConnectionState, can_receive: bool, can_send: bool
) -> None:
    assert (state in MAY_RECEIVE, state in MAY_SEND) == (can_receive, can_send)


def test_a_refusal_says_what_was_tried_and_where_the_connection_is() -> None:
    with pytest.raises(ProtocolStateError, match=r"^sending an end of file is not possible .* past our end of file$"):
        next_state(ConnectionState.OUR_EOF, Event.SEND_EOF)


def test_a_state_prints_as_the_word_it_is() -> None:
    assert f"{ConnectionState.PEER_EOF}" == "peer_eof"
    assert ConnectionState("closing") is ConnectionState.CLOSING
