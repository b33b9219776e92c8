"""Tls: certificates and what is asked of the peer, checked when it is made, and loaded anew while a server runs.

The standard library's way to renew a certificate is ``load_cert_chain`` on the context that is in use. If the new key
does not fit, that context is left without a usable pair. So contexts here are never changed: new ones are built and
checked, and then take the place of the old ones. A connection keeps the context that it began with.
"""

from __future__ import annotations

import copy
import datetime
import logging
import os
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from proactor_echo.arguments import check_callable, check_choice, check_text
from proactor_echo.errors import TlsError
from proactor_echo.net.tcp.tls.files import Path, Secret, TlsCertificate, authorities, load_pair

__all__ = ["ServerSide", "Tls"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

Pair = tuple[Path, Path]

_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class ServerSide(ssl.SSLObject):
    """The server's end of a TLS connection; the standard library's forgets the name that the client asked for."""

    server_name: str | None = None


class Tls:
    """How to speak TLS: which certificate to show, whom to trust, and what else is asked of the peer.

    ::

        tls = pe.Tls("server.pem", "server.key")
        async with await pe.serve_tcp(pe.echo, port=9000, ssl=tls) as server:
            ...
            tls.reload()  # the certificate was renewed: new connections get it

    :param certfile: a PEM file: the certificate, and behind it the chain that leads to a known authority. A server
        needs one; a client may have one.
    :param keyfile: a PEM file with its private key; ``None`` when it is in ``certfile`` too.
    :param password: of the private key: text, bytes or a function that returns it. Nothing is ever asked at the
        terminal.
    :param client_ca: a PEM file with the authorities whose signature on a client's certificate counts.
    :param verify: what a server asks of its clients: ``"none"``, ``"optional"`` (a certificate, if there is one, must
        be good) or ``"required"``. ``None``: ``"required"`` if there is a ``client_ca``, else ``"none"``.
    :param server_ca: a PEM file with the authorities that a client trusts, instead of the system's; a server's own
        certificate will do. A client always verifies the server's certificate and name.
    :param alpn: the names of the protocols that are spoken here, the best first: ``("h2", "http/1.1")``.
    :param minimum: the lowest version of TLS: ``"1.2"`` or ``"1.3"``.
    :param sni: other certificates by the name that a client asks for: ``{"a.example": ("a.pem", "a.key")}``, or a
        :class:`Tls` for each. ``"*.example"`` is any name one label longer. Other names get ``certfile``.
    :param keylog: a file to which the secrets of every connection are added, for Wireshark: whoever has it can read the
        traffic.
    :param prepare: a function that gets each fresh :class:`ssl.SSLContext`, to set what is not here: ciphers, a list of
        revoked certificates.

    Files are read when it is made and by :meth:`reload`, which takes a few milliseconds. What is wrong with them is a
    :class:`TlsError` with one sentence, a wrong argument a TypeError or ValueError. Compression and renegotiation are
    off. Sources: :mod:`ssl`; RFC 9325 (recommendations for TLS); RFC 6066, section 3 (server names).
    """

    def __init__(
        self,
        certfile: Path | None = None,
        keyfile: Path | None = None,
        *,
        password: Secret | Callable[[], Secret] | None = None,
        client_ca: Path | None = None,
        server_ca: Path | None = None,
        verify: Literal["none", "optional", "required"] | None = None,
        alpn: Sequence[str] = (),
        minimum: Literal["1.2", "1.3"] = "1.2",
        sni: Mapping[str, Pair | Tls] | None = None,
        keylog: Path | None = None,
        prepare: Callable[[ssl.SSLContext], object] | None = None,
    ) -> None:
        for name, path in (("certfile", certfile), ("keyfile", keyfile), ("keylog", keylog)):
            _check_path(name, path)
        _check_path("client_ca", client_ca)
        _check_path("server_ca", server_ca)
        if certfile is None and (keyfile is not None or password is not None or sni is not None):
            raise ValueError("Tls() needs a certfile: keyfile, password and sni are nothing without a certificate")
        if not (password is None or callable(password) or isinstance(password, str | bytes | bytearray)):
            raise TypeError(f"password must be text, bytes or a function, not {type(password).__name__}")
        if verify is not None:
            check_choice("verify", verify, tuple(_VERIFY))
        if verify in ("optional", "required") and client_ca is None:
            raise ValueError(
                f"verify={verify!r} needs client_ca: the file with the authorities that sign your clients' certificates"
            )
        if verify == "none" and client_ca is not None:
            raise ValueError("client_ca is of no use with verify='none': write verify='optional' or 'required'")
        check_choice("minimum", minimum, tuple(_MINIMUM))
        check_callable("prepare", prepare, optional=True)
        self._certfile = certfile
        self._keyfile = keyfile
        self._password = password
        self._client_ca = client_ca
        self._server_ca = server_ca
        self._verify = verify or ("none" if client_ca is None else "required")
        self._alpn = _alpn_names(alpn)
        self._minimum = minimum
        self._keylog = keylog
        self._prepare = prepare
        self._by_name: dict[str, Tls] = {}
        self._now: _Contexts
        if sni is not None:
            self._by_name = self._with_names(sni)
        self.reload()
        if self._keylog is not None:
            logger.warning("the secrets of TLS connections are written to %s: their traffic can be read", self._keylog)

    def reload(self) -> None:
        """Read the files again, for the connections that begin from now on; those that there are keep what they have.

        Nothing changes unless all of it is good. Otherwise it raises :class:`TlsError`, which says what is wrong, and
        new connections go on getting what was loaded before: that a renewed certificate is there a moment before its
        key does no harm. It blocks for a few milliseconds.
        """
        fresh = [(each, each._build()) for each in (self, *self._by_name.values())]
        for each, contexts in fresh:
            each._now = contexts

    @property
    def server_context(self) -> ssl.SSLContext:
        """The context for a server's next connection. Raises ValueError when there is no certificate."""
        if self._now.server is None:
            raise ValueError('a server needs a certificate: write Tls("server.pem", "server.key")')
        return self._now.server

    @property
    def client_context(self) -> ssl.SSLContext:
        """The context for a client's next connection. The first use may read the system's authorities: some 20 ms."""
        client = self._now.client
        if client is None:
            client = self._build_client()
            self._now = self._now._replace(client=client)
        return client

    @property
    def certificates(self) -> tuple[TlsCertificate, ...]:
        """What is shown to peers from now on: the certificate of ``certfile``, then those of ``sni``."""
        named = [certificate for each in self._by_name.values() for certificate in each.certificates]
        own = self._now.certificate
        return tuple(named if own is None else dict.fromkeys((own, *named)))

    @property
    def not_after(self) -> datetime.datetime | None:
        """When the first of :attr:`certificates` ends to be valid, in UTC; None without a certificate."""
        return min((certificate.not_after for certificate in self.certificates), default=None)

    def __repr__(self) -> str:
        shown = {
            "certfile": self._certfile,
            "verify": self._verify,
            "alpn": self._alpn or None,
            "minimum": self._minimum,
            "sni": [*self._by_name] or None,
        }
        return f"Tls({', '.join(f'{name}={value!r}' for name, value in shown.items() if value is not None)})"

    # -- building ------------------------------------------------------------------------------------------------

    def _build(self) -> _Contexts:
        if self._certfile is None:
            return _Contexts(None, self._build_client(), None)
        server, certificate = self._build_server(self._certfile)
        # A client of a Tls that describes a server is rare, and it costs a list of all authorities.
        client = None if self._server_ca is None else self._build_client()
        return _Contexts(server, client, certificate)

    def _build_server(self, certfile: Path) -> tuple[ssl.SSLContext, TlsCertificate]:
        trusted = None if self._client_ca is None else authorities(self._client_ca)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=trusted)
        context.sslobject_class = ServerSide
        context.verify_mode = _VERIFY[self._verify]
        context.sni_callback = self._server_name_asked
        certificate = load_pair(context, certfile, self._keyfile, self._password)
        self._set_common(context)
        return context, certificate

    def _build_client(self) -> ssl.SSLContext:
        if self._server_ca is None:
            context = ssl.create_default_context()
        else:
            context = ssl.create_default_context(cadata=authorities(self._server_ca))
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # one that is trusted need not be an authority
        if self._certfile is not None:
            load_pair(context, self._certfile, self._keyfile, self._password)
        self._set_common(context)
        return context

    def _set_common(self, context: ssl.SSLContext) -> None:
        context.minimum_version = _MINIMUM[self._minimum]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        if self._keylog is not None:
            try:
                context.keylog_filename = os.fspath(self._keylog)
            except OSError as error:
                said = (error.strerror or str(error)).rstrip(".")
                raise TlsError(f"cannot write the key log {self._keylog}: {said}", errno=error.errno) from error
        if self._prepare is not None:
            self._prepare(context)

    # -- certificates by name ------------------------------------------------------------------------------------

    def _with_names(self, sni: Mapping[str, Pair | Tls]) -> dict[str, Tls]:
        if not isinstance(sni, Mapping):
            raise TypeError(f'sni must be a mapping, as in {{"a.example": ("a.pem", "a.key")}}, not {sni!r}')
        return {_host_name(name): self._for_name(name, value) for name, value in sni.items()}

    def _for_name(self, name: str, value: Pair | Tls) -> Tls:
        if isinstance(value, Tls):
            # OpenSSL takes the certificate and its protocols from the context that a name leads to. Whether a client
            # must show a certificate, and the version, have been taken from the first one by then.
            for what in ("verify", "client_ca", "minimum"):
                if getattr(value, f"_{what}") != getattr(self, f"_{what}"):
                    raise ValueError(f"sni: {what} of {name!r} must be the same as for all other names")
            if value._certfile is None or value._by_name:
                raise ValueError(f"sni: the Tls of {name!r} must have a certfile, and no sni of its own")
            return value
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise TypeError(f'sni: {name!r} must lead to a pair of files, ("a.pem", "a.key"), or a Tls, not {value!r}')
        made = copy.copy(self)
        made._certfile, made._keyfile = value
        made._by_name = {}
        for path in value:
            _check_path(f"sni: each file of {name!r}", path)
        return made

    def _server_name_asked(self, sslobj: Any, name: str | None, context: ssl.SSLContext) -> None:
        """Choose the certificate (called by OpenSSL during the handshake)."""
        if name is None:
            return
        sslobj.server_name = name
        if self._by_name:
            name = name.lower().rstrip(".")
            chosen = self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")
            if chosen is not None:
                sslobj.context = chosen.server_context


class _Contexts(NamedTuple):
    """What was built at one time, and is used together."""

    server: ssl.SSLContext | None
    client: ssl.SSLContext | None
    certificate: TlsCertificate | None


def _alpn_names(alpn: Iterable[str]) -> tuple[str, ...]:
    if isinstance(alpn, str | bytes) or not isinstance(alpn, Iterable):
        raise TypeError(f'alpn must be a list of names, as in ("h2", "http/1.1"), not {alpn!r}')
    names = tuple(alpn)
    for name in names:
        check_text("each of alpn", name)
        if not name.isascii() or not 1 <= len(name) <= 255:
            raise ValueError(f"each of alpn must be 1 to 255 ASCII characters, not {name!r}")
    return names


def _host_name(name: object) -> str:
    """Return a name as it stands in a handshake: in ASCII, in small letters."""
    check_text("each name in sni", name)
    try:
        return str(name).rstrip(".").encode("idna").decode().lower()
    except UnicodeError as error:
        raise ValueError(f"sni: {name!r} is no host name") from error


def _check_path(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str | os.PathLike):
        raise TypeError(f'{name} must be the name of a file, as in "server.pem", not {value!r}')
