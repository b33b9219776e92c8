"""TLS for the command line: what the options ask for, and certificates that are loaded again while a server runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, TypedDict

import click

from proactor_echo.cli.systemd import Notifier
from proactor_echo.errors import TlsError

if TYPE_CHECKING:
    from proactor_echo.net.tcp.tls.description import Tls

__all__ = ["TlsOptions", "check_tls_options", "make_tls", "reload_certificates"]

logger: logging.Logger = logging.getLogger("proactor_echo.cli")


class TlsOptions(TypedDict):
    """The options that begin with ``--tls-``."""

    tls_cert: str | None
    tls_key: str | None
    tls_key_password_file: str | None
    tls_client_ca: str | None
    tls_verify: Literal["none", "optional", "required"] | None
    tls_min: Literal["1.2", "1.3"]
    tls_keylog: str | None


def check_tls_options(given: TlsOptions) -> bool:
    """Return whether TLS is wanted. Raises click.UsageError for options that make no sense together."""
    if given["tls_cert"] is None:
        for name in ("tls_key", "tls_key_password_file", "tls_client_ca", "tls_verify", "tls_keylog"):
            if given[name] is not None:
                raise click.UsageError(f"{_option(name)} needs --tls-cert: the file with the server's certificate.")
        return False
    verify, client_ca = given["tls_verify"], given["tls_client_ca"]
    if verify in ("optional", "required") and client_ca is None:
        raise click.UsageError(
            f"--tls-verify {verify} needs --tls-client-ca: the authorities that sign your clients' certificates."
        )
    if verify == "none" and client_ca is not None:
        raise click.UsageError("--tls-client-ca is of no use with --tls-verify none: write optional or required.")
    return True


def make_tls(given: TlsOptions) -> Tls:
    """Load the certificates. Raises TlsError, with one sentence."""
    from proactor_echo.net.tcp.tls.description import Tls  # only who speaks TLS waits for it

    password_file = given["tls_key_password_file"]
    if password_file is not None:
        _first_line(password_file)  # that it can be read is told at once, though the key may have no password

    def password() -> str:  # read again with each reload, as the key is
        if password_file is None:
            raise TlsError(f"the private key in {key} is encrypted: give its password with --tls-key-password-file")
        return _first_line(password_file)

    assert given["tls_cert"] is not None
    key = given["tls_key"] or given["tls_cert"]
    tls = Tls(
        given["tls_cert"],
        given["tls_key"],
        password=password,
        client_ca=given["tls_client_ca"],
        verify=given["tls_verify"],
        minimum=given["tls_min"],
        keylog=given["tls_keylog"],
    )
    logger.info("TLS certificate: %s", _shown(tls))
    return tls


def reload_certificates(tls: Tls, notifier: Notifier) -> None:
    """Load the certificates again, for new connections, and say in one line what came of it."""
    notifier.reloading()
    try:
        tls.reload()
    except TlsError as error:
        logger.error("SIGHUP: the old certificate stays, %s: %s", _shown(tls), error)
    else:
        logger.info("SIGHUP: new connections get the certificate %s", _shown(tls))
    notifier.ready()


def _shown(tls: Tls) -> str:
    return "; ".join(map(str, tls.certificates))


def _first_line(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.readline().rstrip("\r\n")
    except OSError as error:
        raise TlsError(f"cannot read the password file {file}: {error.strerror}", errno=error.errno) from error
    except UnicodeDecodeError as error:
        raise TlsError(f"the password file {file} is not text in UTF-8") from error


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
