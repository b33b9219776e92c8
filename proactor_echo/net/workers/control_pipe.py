"""ControlPipe: what a supervisor and a worker say to each other, with the sockets that the one hands to the other.

It is a pair of connected sockets, one in each process. A message is a length of 4 bytes and a JSON object. A socket
goes with its message: as a descriptor (SCM_RIGHTS) on POSIX, and on Windows as the description that ``socket.share``
makes for one process. Both ends block: each is read by a thread of its own, and what is sent is so little and so
bounded that it always fits.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import sys
import threading
from collections import deque
from typing import Any, Final

__all__ = ["ControlPipe", "Message"]

Message = dict[str, Any]

_READ: Final = 65536
_MOST_DESCRIPTORS: Final = 64
_NONBLOCK: Final = getattr(socket, "SOCK_NONBLOCK", 0)
_LENGTH: Final = struct.Struct("!I")


class ControlPipe:
    """One end. ``peer`` is the process that Windows must know to share a socket with it."""

    def __init__(self, sock: socket.socket, peer: int = 0) -> None:
        sock.settimeout(None)
        self._sock = sock
        self._peer = peer
        self._sending = threading.Lock()
        self._data = b""
        self._descriptors: deque[int] = deque()

    def send(self, message: Message, handed: socket.socket | None = None) -> None:
        """Send a message, and a socket, which stays open here. Raises OSError when the other end is gone."""
        if handed is not None:
            message = {**message, "socket": self._shared(handed)}
        body = json.dumps(message).encode()
        data = _LENGTH.pack(len(body)) + body
        with self._sending:
            if handed is not None and sys.platform != "win32":
                sent = socket.send_fds(self._sock, [data], [handed.fileno()])
                data = data[sent:]
            if data:
                self._sock.sendall(data)

    def receive(self) -> tuple[Message, socket.socket | None] | None:
        """Wait for the next message, and the socket that came with it; None at the end. Raises OSError."""
        while (message := self._next()) is None:
            if sys.platform == "win32":
                data = self._sock.recv(_READ)
            else:
                data, descriptors, _, _ = socket.recv_fds(self._sock, _READ, _MOST_DESCRIPTORS)
                self._descriptors.extend(descriptors)
            if not data:
                return None
            self._data += data
        shared = message.pop("socket", None)
        return message, None if shared is None else self._taken(shared)

    def close(self) -> None:
        """End it for both processes; a thread that receives gets the end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        while self._descriptors:
            socket.socket(fileno=self._descriptors.popleft()).close()

    def _next(self) -> Message | None:
        if len(self._data) < 4:
            return None
        end = 4 + _LENGTH.unpack_from(self._data)[0]
        if len(self._data) < end:
            return None
        body, self._data = self._data[4:end], self._data[end:]
        message: Message = json.loads(body)
        return message

    def _shared(self, handed: socket.socket) -> Any:
        if sys.platform == "win32":
            return base64.b64encode(handed.share(self._peer)).decode()
        return handed.family, handed.type

    def _taken(self, shared: Any) -> socket.socket:
        if sys.platform == "win32":
            return socket.fromshare(base64.b64decode(shared))
        # Whether it blocks is the same for all processes that have it. PyPy would have it block when it is not told
        # otherwise, so that accept() blocks in a worker that was woken for a connection which another one has taken.
        family, kind = shared
        return socket.socket(family, kind | _NONBLOCK, fileno=self._descriptors.popleft())
