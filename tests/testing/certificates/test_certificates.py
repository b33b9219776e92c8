"""The certificates for tests are accepted where they should be, refused where they should be, and say what they are."""

import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from proactor_echo.testing import certificates as certs

FOLDER = Path(certs.__file__).parent
ALL = [value for value in vars(certs).values() if isinstance(value, certs.Certificate)]


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """Do a handshake in memory and return the server's side; raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        served := server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for side in sides:
            try:
                side.do_handshake()
                side.read(1)  # with TLS 1.3 the client learns only now whether the server takes its certificate
            except ssl.SSLWantReadError:
                pass
    return served


def strict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as create_default_context() does from Python 3.13 on
    return context


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("certificate", [certs.LOCALHOST, certs.RENEWED, certs.LOCKED], ids=lambda c: c.certfile.stem)
def test_a_client_that_checks_everything_accepts_this_machines_certificates(
    certificate: certs.Certificate, name: str
) -> None:
    shake(certs.server_context(certificate), strict(certs.client_context()), name)


@pytest.mark.parametrize(
    ("certificate", "why"),
    [(certs.EXPIRED, "certificate has expired"), (certs.WRONG_NAME, "not valid for 'localhost'")],
    ids=["expired", "wrong name"],
)
def test_a_client_refuses_the_others(certificate: certs.Certificate, why: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake(certs.server_context(certificate), certs.client_context())
    assert why in caught.value.verify_message


def test_a_client_that_trusts_the_systems_authorities_alone_refuses_all_of_them() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(certs.server_context(), ssl.create_default_context())


@pytest.mark.parametrize("verify", ["optional", "required"])
def test_a_server_accepts_the_clients_certificate_and_refuses_the_strangers(verify: str) -> None:
    served = shake(strict(certs.server_context(verify=verify)), certs.client_context(certs.CLIENT))
    subject: Any = served.getpeercert()
    assert (("commonName", "proactor_echo TEST ONLY client"),) in subject["subject"]
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.verify.failed|unknown.ca"):
        shake(certs.server_context(verify=verify), certs.client_context(certs.STRANGER))


def test_a_server_that_needs_a_certificate_refuses_a_client_without_one() -> None:
    shake(certs.server_context(verify="optional"), certs.client_context())
    with pytest.raises(ssl.SSLError, match=r"(?i)peer.did.not.return.a.certificate|certificate.required"):
        shake(certs.server_context(verify="required"), certs.client_context())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.pem")), ids=lambda path: path.name)
def test_every_file_says_that_it_is_for_tests_alone(path: Path) -> None:
    head, _, _ = path.read_text("ascii").partition("-----BEGIN")
    assert head.startswith("proactor_echo TEST ONLY: ")
    assert "never trust it outside a test" in head


@pytest.mark.parametrize(
    "path", [path for path in sorted(FOLDER.glob("*.pem")) if "-key" not in path.name], ids=lambda path: path.name
)
def test_every_subject_says_it_too_and_all_but_the_expired_one_are_valid_for_decades(path: Path) -> None:
    context = ssl.create_default_context(cafile=path)
    if path.name == "ca.pem":  # OpenSSL lists authorities alone
        (read,) = context.get_ca_certs()
        decoded: Any = read
    else:
        decoded = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    subject = dict(pair for group in decoded["subject"] for pair in group)
    assert subject["organizationName"] == "proactor_echo TEST ONLY"
    assert subject["commonName"].startswith("proactor_echo TEST ONLY ")
    left = ssl.cert_time_to_seconds(decoded["notAfter"]) - time.time()
    assert left < 0 if path.name == "expired.pem" else left > 20 * 365 * 86400


def test_every_file_has_a_name() -> None:
    named = {certs.CA_FILE, *(file for certificate in ALL for file in certificate[:2])}
    assert named == set(FOLDER.glob("*.pem"))
