"""Warnings before a certificate ends: 30, 7 and 1 days before, and when it has ended. One line each."""

from __future__ import annotations

import asyncio
import datetime
import logging
import weakref
from typing import Final

from proactor_echo.net.tcp.tls.description import Tls
from proactor_echo.net.tcp.tls.files import TlsCertificate

__all__ = ["ExpiryWatch"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Days before the end of a certificate at which it is warned of.
WARN_BEFORE: Final = (30, 7, 1, 0)
NOT_YET: Final = -1
#: Seconds after which the certificates are looked at again at the latest: they may have been renewed, or the clock set.
LOOK_AGAIN: Final = 86400.0

#: Of what has been warned, so that several servers with one certificate give one warning.
_warned: weakref.WeakKeyDictionary[Tls, set[tuple[TlsCertificate, int]]] = weakref.WeakKeyDictionary()


class ExpiryWatch:
    """Looks at the certificates of a server once a day, and when the next warning is due."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._look()

    def cancel(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        now = utc_now()
        warn(self._tls, now)
        due = [
            certificate.not_after - datetime.timedelta(days)
            for certificate in self._tls.certificates
            for days in WARN_BEFORE
        ]
        seconds = [(when - now).total_seconds() for when in due if when > now]
        self._handle = self._loop.call_later(min([LOOK_AGAIN, *seconds]), self._look)


def utc_now() -> datetime.datetime:
    """Return the time of day by which certificates are judged."""
    return datetime.datetime.now(datetime.UTC)


def warn(tls: Tls, now: datetime.datetime) -> None:
    """Warn of each certificate whose end is near, unless that was done when it was as near."""
    done = _warned.setdefault(tls, set())
    for certificate in tls.certificates:
        left = certificate.not_after - now
        near = [days for days in WARN_BEFORE if left <= datetime.timedelta(days)]
        if near and (certificate, near[-1]) not in done:
            done.update((certificate, days) for days in near)
            logger.warning("the certificate in %s %s", certificate.file, _words(certificate, left))
        if certificate.not_before > now and (certificate, NOT_YET) not in done:
            done.add((certificate, NOT_YET))
            begin = f"{certificate.not_before:%Y-%m-%d %H:%M} UTC"
            logger.warning("the certificate in %s is not valid before %s: clients refuse it", certificate.file, begin)


def _words(certificate: TlsCertificate, left: datetime.timedelta) -> str:
    end = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if left <= datetime.timedelta(0):
        return f"has expired on {end}: clients refuse it"
    return f"expires in {_days(left)}, on {end}: renew it"


def _days(left: datetime.timedelta) -> str:
    days = round(left / datetime.timedelta(days=1))
    return f"{days} days" if days > 1 else "1 day" if left > datetime.timedelta(hours=23) else "less than a day"
