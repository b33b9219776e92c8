"""Sessions that clients take up again, so that the next handshake with the same server is a short one.

A session belongs to the context with which it was made (OpenSSL refuses it with another), to the host and port, and to
the name that was verified. TLS 1.3 sends what is needed to take it up (a ticket) only behind the handshake, when the
server likes. So nothing is taken when a connection opens: it is looked at when the next one begins, or when it ends.

A session is used once, as RFC 8446 (appendix C.4) asks for: who watches the line could otherwise tell that two
connections are of one client. A connection that takes one up is given a new one.
"""

from __future__ import annotations

import ssl
import weakref
from collections import OrderedDict, deque
from typing import Any, Final

__all__ = ["ResumingContext", "SessionCache", "sessions_of"]

Key = tuple[str, int, str]  # host, port, and the name in the certificate

#: Servers of one context whose sessions are kept; the one that was not connected to for longest goes first.
SERVERS: Final = 128
#: Sessions of one server that are kept: so many connections that begin at once are short handshakes.
SESSIONS: Final = 8


class SessionCache:
    """The sessions of one context."""

    def __init__(self) -> None:
        self._servers: OrderedDict[Key, _Sessions] = OrderedDict()

    def take(self, key: Key) -> ssl.SSLSession | None:
        """Return a session to take up with a server, which nobody else gets; None when there is none."""
        sessions = self._servers.get(key)
        if sessions is None:
            return None
        self._servers.move_to_end(key)
        return sessions.take()

    def opened(self, key: Key, connection: ssl.SSLObject) -> None:
        """Remember an open connection, whose session may be wanted before it ends."""
        sessions = self._servers.get(key)
        if sessions is None:
            sessions = self._servers[key] = _Sessions()
            if len(self._servers) > SERVERS:
                self._servers.popitem(last=False)
        sessions.open = weakref.ref(connection)

    def closed(self, key: Key, connection: ssl.SSLObject) -> None:
        """Keep the session of a connection that has ended, if it was not taken before."""
        sessions = self._servers.get(key)
        if sessions is not None:
            sessions.keep(connection)


class _Sessions:
    """Those of one server."""

    __slots__ = ("_kept", "_taken", "open")

    def __init__(self) -> None:
        #: The connection that was opened last.
        self.open: weakref.ref[ssl.SSLObject] | None = None
        self._kept: deque[ssl.SSLSession] = deque(maxlen=SESSIONS)
        self._taken: weakref.WeakSet[ssl.SSLObject] = weakref.WeakSet()

    def take(self) -> ssl.SSLSession | None:
        if self._kept:
            return self._kept.pop()
        connection = None if self.open is None else self.open()
        if connection is None or connection in self._taken:
            return None
        session = _session(connection)
        if session is not None:
            self._taken.add(connection)
        return session

    def keep(self, connection: ssl.SSLObject) -> None:
        if connection not in self._taken:
            session = _session(connection)
            if session is not None:
                self._kept.append(session)


def _session(connection: ssl.SSLObject) -> ssl.SSLSession | None:
    """Return the session of a connection if it can be taken up."""
    session = connection.session
    if session is None or not (session.has_ticket or (session.id and connection.version() != "TLSv1.3")):
        return None
    return session


def sessions_of(context: ssl.SSLContext) -> SessionCache:
    """Return the sessions of ``context``.

    They are kept in the context, not in a table here: a session leads back to its context, so that one which nobody
    else uses, with its list of authorities, would never be freed.
    """
    cache: SessionCache | None = getattr(context, "proactor_echo_sessions", None)
    if cache is None:
        cache = SessionCache()
        setattr(context, "proactor_echo_sessions", cache)  # noqa: B010 - a type checker knows no such attribute
    return cache


class ResumingContext:
    """A context that takes up ``session`` in the one connection it is made for.

    asyncio has no way to hand a session over (gh-79152); it asks the context for the connection by ``wrap_bio``, and
    for nothing else.
    """

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession) -> None:
        self._context = context
        self._session = session

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any) -> ssl.SSLObject:
        """Make the connection's TLS object, as :meth:`ssl.SSLContext.wrap_bio` does."""
        return self._context.wrap_bio(incoming, outgoing, session=self._session, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
