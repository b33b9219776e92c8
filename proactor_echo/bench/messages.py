"""Messages that know whose they are: an answer can be told from every other, and from noise."""

from __future__ import annotations

from typing import Final

from proactor_echo.wire.codec import Codec

__all__ = ["LEAST_SIZE", "Messages"]

#: Hexadecimal digits of a connection's number, and of a message's. Text goes through every framing as it is.
_DIGITS: Final = 8
#: The shortest payload, in bytes: the digits, so that two messages are never the same.
LEAST_SIZE: Final = 2 * _DIGITS


class Messages:
    """Payloads of ``size`` bytes, as ``codec`` frames them; without one there is nothing around them."""

    def __init__(self, size: int, codec: Codec | None = None) -> None:
        import hashlib  # loads OpenSSL, which who only asks for LEAST_SIZE does not need

        # The same for every run, without a short period: part of one message never looks like part of another place.
        text = hashlib.shake_128(b"proactor_echo bench").hexdigest(size // 2 + 1)[: size - LEAST_SIZE].encode()
        sample = bytes(LEAST_SIZE) + text
        framed = sample if codec is None else codec.encode(sample)
        place = framed.index(sample)
        self._head = framed[:place]
        self._tail = framed[place + LEAST_SIZE :]
        #: The length of a message with its framing, in bytes.
        self.wire_size: int = len(framed)

    def make(self, connection: int, number: int) -> bytes:
        """Return the message with this number of this connection."""
        head, tail = self.around(connection)
        return head + b"%08x" % number + tail

    def around(self, connection: int) -> tuple[bytes, bytes]:
        """Return what is before and behind the 8 digits of a message's number."""
        return self._head + b"%08x" % connection, self._tail

    def number(self, connection: int, message: bytes) -> int | None:
        """Return the number of a message of this connection; None if it is none, or was damaged."""
        place = len(self._head) + _DIGITS
        try:
            number = int(message[place : place + _DIGITS], 16)
        except ValueError:
            return None
        return number if self.make(connection, number) == message else None
