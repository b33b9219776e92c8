"""Tls() checks what it is given when it is made; what is wrong is one sentence that names the file."""

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.testing.certificates import CA_FILE, EXPIRED, LOCALHOST, LOCKED, RENEWED

CERT, KEY = LOCALHOST.certfile, LOCALHOST.keyfile


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(pe.TlsError) as caught:
        pe.Tls(*args, **options)
    return str(caught.value)


def test_a_certificate_and_its_key_make_a_context_with_safe_settings() -> None:
    context = pe.Tls(CERT, KEY).server_context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(CERT.read_bytes() + KEY.read_bytes())
    assert pe.Tls(both).server_context


def test_it_tells_until_when_a_certificate_is_valid() -> None:
    tls = pe.Tls(CERT, KEY, sni={"old.example": EXPIRED[:2]})
    assert [certificate.file for certificate in tls.certificates] == [str(CERT), str(EXPIRED.certfile)]
    assert tls.certificates[0].not_after == datetime.datetime(2099, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    assert (
        tls.not_after
        == tls.certificates[1].not_after
        == datetime.datetime(2020, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    )
    assert str(tls.certificates[0]).endswith("localhost.pem, valid until 2099-12-31 23:59 UTC")


@pytest.mark.parametrize("password", ["proactor_echo", b"proactor_echo", lambda: "proactor_echo"])
def test_a_key_may_have_a_password(password: Any) -> None:
    assert pe.Tls(LOCKED.certfile, LOCKED.keyfile, password=password).server_context


def test_a_password_is_never_asked_for_at_the_terminal() -> None:
    why = refused(LOCKED.certfile, LOCKED.keyfile)
    assert why == f"the private key in {LOCKED.keyfile} is encrypted: give its password"


def test_a_wrong_password_is_called_one() -> None:
    why = refused(LOCKED.certfile, LOCKED.keyfile, password="wrong")
    assert why == f"the private key in {LOCKED.keyfile} cannot be decrypted: the password is wrong"


def test_a_key_that_does_not_fit_is_named_with_the_certificate() -> None:
    why = refused(CERT, RENEWED.keyfile)
    assert why == f"the private key in {RENEWED.keyfile} does not fit the certificate in {CERT}"


@pytest.mark.parametrize("what", ["certificate", "private key"])
def test_a_file_that_is_not_there_is_named(what: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    pair = (missing, KEY) if what == "certificate" else (CERT, missing)
    with pytest.raises(pe.TlsError, match=r"missing\.pem: No such file or directory$") as caught:
        pe.Tls(*pair)
    assert str(caught.value).startswith(f"cannot read the {what} ")
    assert caught.value.errno == 2


def lines(path: Path, *, without: int = 0) -> bytes:
    found = path.read_bytes().splitlines(keepends=True)
    begin = next(number for number, line in enumerate(found) if line.startswith(b"-----BEGIN"))
    return b"".join(line for number, line in enumerate(found) if not without or number != begin + without)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda: (b"not a certificate", lines(KEY)), "holds no certificate in PEM form"),
        (lambda: (lines(KEY), lines(KEY)), "it is a private key"),
        (lambda: (ssl.PEM_cert_to_DER_cert(pem(CERT)), lines(KEY)), "it looks like DER or PKCS #12"),
        (lambda: (lines(CERT, without=2), lines(KEY)), "is damaged"),
        (lambda: (lines(CERT), lines(CERT)), "holds no private key in PEM form"),
        (lambda: (lines(CERT), lines(KEY, without=1)), "the private key in it is damaged"),
    ],
    ids=["text", "key", "der", "certificate", "no key", "damaged key"],
)
def test_a_file_that_holds_something_else_is_told_what(
    spoil: Callable[[], tuple[bytes, bytes]], why: str, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, content in zip((cert, key), spoil(), strict=True):
        path.write_bytes(content)
    assert why in refused(cert, key)


def pem(path: Path) -> str:
    text = path.read_text("ascii")
    return text[text.index("-----BEGIN CERTIFICATE") :]


def test_a_file_without_an_authority_is_refused_too(tmp_path: Path) -> None:
    assert refused(CERT, KEY, client_ca=KEY).endswith("it is a private key")
    assert refused(server_ca=tmp_path / "ca.pem").startswith("cannot read the certificate ")


def test_a_key_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    assert refused(CERT, KEY, keylog=tmp_path / "no" / "log").startswith("cannot write the key log ")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"verify": "sometimes"}, "verify must be 'none', 'optional' or 'required', not 'sometimes'"),
        ({"verify": "required"}, "verify='required' needs client_ca: the file with the authorities that sign your "),
        ({"client_ca": CA_FILE, "verify": "none"}, "client_ca is of no use with verify='none'"),
        ({"minimum": "1.1"}, "minimum must be '1.2' or '1.3', not '1.1'"),
        ({"alpn": ["x" * 256]}, "each of alpn must be 1 to 255 ASCII characters"),
        ({"sni": {"x" * 80: LOCALHOST[:2]}}, "is no host name"),
        ({"sni": {"a.example": pe.Tls(CERT, KEY, minimum="1.3")}}, "minimum of 'a.example' must be the same"),
        ({"sni": {"a.example": pe.Tls()}}, "the Tls of 'a.example' must have a certfile"),
    ],
)
def test_a_value_that_makes_no_sense_is_told_what_to_write(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as caught:
        pe.Tls(CERT, KEY, **options)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"alpn": "h2"}, 'alpn must be a list of names, as in ("h2", "http/1.1"), not \'h2\''),
        ({"password": 1}, "password must be text, bytes or a function, not int"),
        ({"keylog": 1}, "keylog must be the name of a file"),
        ({"prepare": "ciphers"}, "prepare must be a function"),
        ({"sni": {"a.example": "a.pem"}}, "sni: 'a.example' must lead to a pair of files"),
        ({"sni": "a.example"}, "sni must be a mapping"),
    ],
)
def test_something_of_another_kind_is_told_what_to_write(options: dict[str, Any], why: str) -> None:
    with pytest.raises(TypeError) as caught:
        pe.Tls(CERT, KEY, **options)
    assert why in str(caught.value)


def test_what_belongs_to_a_certificate_needs_one() -> None:
    with pytest.raises(ValueError, match="needs a certfile"):
        pe.Tls(keyfile=KEY)
    with pytest.raises(ValueError, match="a server needs a certificate"):
        _ = pe.Tls().server_context


def test_a_function_of_the_application_sees_each_fresh_context() -> None:
    prepared: list[ssl.SSLContext] = []
    tls = pe.Tls(CERT, KEY, prepare=prepared.append)
    assert prepared == [tls.server_context]
    tls.reload()
    assert prepared[1:] == [tls.server_context] != prepared[:1]


def test_a_client_trusts_the_authorities_that_it_is_given_and_no_others() -> None:
    context = pe.Tls(server_ca=CA_FILE).client_context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1
