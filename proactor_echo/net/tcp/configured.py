"""The settings of a connection, which are set before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proactor_echo.arguments import check_instance, check_seconds, check_write_limit
from proactor_echo.wire import Codec, RawCodec

__all__ = ["ConfiguredProtocol"]


class ConfiguredProtocol(asyncio.Protocol):
    """The settings of a connection, kept in the class where an object has none of its own."""

    codec: Codec = RawCodec()
    write_limit: tuple[int, int] | None = None

    #: Seconds after which a closing connection drops its pending output, if the system takes none of it meanwhile.
    close_timeout: float = 10.0

    #: Called with each exception of the code that serves this connection, before it is logged: for a test, say.
    on_error: Callable[[BaseException], object] | None = None

    def configure(
        self,
        codec: Codec | None = None,
        *,
        write_limit: tuple[int, int] | None = None,
        close_timeout: float | None = None,
    ) -> None:
        """Set what is given, before the connection is made; ``None`` keeps what the class or constructor says."""
        if codec is not None:
            check_instance("codec", codec, Codec, optional=True)
            self.codec = codec
        if write_limit is not None:
            check_write_limit(write_limit)
            self.write_limit = write_limit
        if close_timeout is not None:
            check_seconds("close_timeout", close_timeout)
            self.close_timeout = close_timeout
