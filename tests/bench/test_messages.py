"""Messages come through every framing as they are, and no two are the same."""

import pytest

from proactor_echo.bench.messages import LEAST_SIZE, Messages
from proactor_echo.cli.bench import load_codec
from proactor_echo.cli.framing import FRAMINGS


@pytest.mark.parametrize("size", [LEAST_SIZE, LEAST_SIZE + 1, 100, 1024, 70_000])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_is_framed_is_a_message_of_the_wanted_size(framing: str, size: int) -> None:
    codec = load_codec(framing, 1 << 20)
    messages = Messages(size, codec)
    wire = messages.make(3, 17) + messages.make(3, 18)
    assert len(wire) == 2 * messages.wire_size
    if codec is None:
        assert messages.wire_size == size
        return
    decoder = codec.decoder()
    frames = [bytes(frame) for frame in decoder.feed(wire)]
    assert b"".join(map(codec.encode, frames)) == wire
    assert [frame[:LEAST_SIZE] for frame in frames] == [b"%08x%08x" % (3, 17), b"%08x%08x" % (3, 18)]
    assert all(len(frame.rstrip(b"\r\n")) == size for frame in frames)


def test_a_message_is_known_by_its_number_unless_anything_in_it_is_wrong() -> None:
    messages = Messages(100)
    wire = messages.make(7, 300)
    assert messages.number(7, wire) == 300
    assert messages.number(8, wire) is None
    for place in range(len(wire)):
        damaged = wire[:place] + bytes([wire[place] ^ 1]) + wire[place + 1 :]
        assert messages.number(7, damaged) != 300
