"""What systemd and a service say to each other: sockets that it has bound, and notes on how the service does.

Source: systemd's manual pages ``sd_notify(3)``, ``sd_listen_fds(3)``, ``sd_watchdog_enabled(3)`` and
``systemd.service(5)``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, MutableMapping
from typing import Final

import click

__all__ = ["NOBODY", "Notifier", "listening_sockets"]

_FIRST_DESCRIPTOR: Final = 3


class Notifier:
    """Sends notes to systemd; to nobody when it did not start this process, or was not asked for.

    A Windows service has another one, for the service control manager.
    """

    #: Whether this process ends with its console, or with the session of its user (Windows).
    ends_with_session: bool = True

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        #: Seconds after which systemd takes the service for stuck; 0: it does not look.
        self.watchdog: float = watchdog

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """Return the notifier that systemd has described; the variables are taken out, so that no child finds them.

        Raises click.ClickException for variables that make no sense.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        watched = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        seconds = _number(environment.pop("WATCHDOG_USEC", "0"), "WATCHDOG_USEC") / 1e6
        if address and not address.startswith(("/", "@")):
            raise click.ClickException(f"NOTIFY_SOCKET is {address!r}, which is no path and no abstract name")
        return cls(address, seconds if watched else 0.0)

    def ready(self, status: str = "") -> None:
        """Say that the service serves, again after :meth:`reloading`; ``status`` is for people."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that it reads its configuration again."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that it ends."""
        self._send("STOPPING=1")

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Say that the event loop goes on, twice in the time that systemd waits, while a ``with`` block runs."""
        if not (self._address and self.watchdog):
            yield
            return
        task = asyncio.get_running_loop().create_task(self._say_that_it_goes_on(), name="watchdog of systemd")
        try:
            yield
        finally:
            task.cancel()

    async def _say_that_it_goes_on(self) -> None:
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 2)

    def _send(self, *lines: str) -> None:
        if self._address and sys.platform != "win32":
            # If nobody listens any more, nobody needs to be told.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)


#: For a service that nobody asked for notes.
NOBODY: Final = Notifier()


def listening_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd has bound for this process; the variables are taken out.

    Raises click.ClickException for variables that make no sense.
    """
    meant = environment.pop("LISTEN_PID", "") == str(os.getpid())
    count = _number(environment.pop("LISTEN_FDS", "0"), "LISTEN_FDS")
    environment.pop("LISTEN_FDNAMES", None)
    if not meant:
        return []
    made = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count):
        try:
            made.append(socket.socket(fileno=descriptor))
        except OSError as error:
            raise click.ClickException(
                f"descriptor {descriptor} of LISTEN_FDS is no socket: {error.strerror}"
            ) from None
        os.set_inheritable(descriptor, False)
    return made


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise click.ClickException(f"{name} is {text!r}, which is no number")
    return int(text)
