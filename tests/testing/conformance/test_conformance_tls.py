"""The check over TLS: right servers pass it, and each wrong one fails the row that names its mistake."""

import asyncio
import re
import shutil
import ssl
import struct
import subprocess
import warnings
from typing import Any

import pytest
from helpers.tls_peers import abrupt, blocking_server

import proactor_echo as pe
from proactor_echo.testing import certificates as certs
from proactor_echo.testing.conformance import Outcome, Report, check_echo
from proactor_echo.testing.conformance.echo.tls_checks import CHECKS
from proactor_echo.testing.conformance.echo.tls_hello import Answer, answer_to, client_hello

pytestmark = pytest.mark.loop_errors

FAST: dict[str, Any] = {"quiet": 0.05, "size": 1 << 16, "clients": 5, "handshake_timeout": 2.0}

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")


async def check(address: Any, *only: str, context: ssl.SSLContext | None = None, **settings: Any) -> Report:
    return await check_echo(
        address, ssl=context or certs.client_context(), only=only or None, **FAST | {"timeout": 2.0} | settings
    )


def outcomes(report: Report) -> dict[str, Outcome]:
    return {result.name: result.outcome for result in report.results if result.outcome is not Outcome.OK}


# -- right ones --------------------------------------------------------------------------------------------------------


async def test_a_right_server_passes_every_check() -> None:
    with blocking_server(certs.server_context()) as address:
        report = await check(address)
    skipped = {} if shutil.which("openssl") else {"renegotiation": Outcome.SKIPPED}
    assert (outcomes(report), len(report.results)) == (skipped, 16), report
    assert report.subject == f"tls 127.0.0.1:{address[1]}"
    assert re.fullmatch(r"came back over TLSv1\.3, TLS_\w+", report["answers"].detail)
    assert report["versions"].detail == "1.3 and 1.2 taken; 1.1 and 1.0 refused"
    assert report["truncation"].detail == "answered by a TCP end alone; others are served"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_our_servers_pass_every_check_on_our_loop(version: ssl.TLSVersion) -> None:
    async def main() -> tuple[Report, Report]:
        context = certs.client_context()
        context.maximum_version = version
        names = [name for name, _ in CHECKS if name != "endless handshake"]  # it has 10 seconds

        async def checked(**form: Any) -> Report:
            async with await pe.serve_tcp(**form, ssl=certs.server_context()) as server:
                return await check(server.address, *names, context=context, timeout=10.0)

        return await asyncio.gather(checked(handler=pe.echo), checked(protocol_factory=pe.EchoProtocol))

    for report in pe.run(main()):
        assert not report.of(Outcome.FAILED), report
        assert report["half-close"].outcome is (Outcome.OK if version is ssl.TLSVersion.TLSv1_3 else Outcome.SKIPPED), (
            report
        )


async def test_a_server_of_tls_1_2_alone_passes_and_its_half_close_is_skipped() -> None:
    context = certs.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with blocking_server(context) as address:
        report = await check(address)
    assert report["half-close"].detail == "the server speaks TLS 1.2, in which a stream ends both ways at once"
    assert report["versions"].detail == "1.2 taken; 1.3 and 1.1 and 1.0 refused"
    assert not report.of(Outcome.FAILED), report


async def test_a_server_of_tls_1_3_alone_has_no_renegotiation() -> None:
    context = certs.server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with blocking_server(context) as address:
        report = await check(address, "renegotiation")
    assert report["renegotiation"].detail == "there is none without TLS 1.2"


@pytest.mark.stock_loop(
    ours="tests/testing/conformance/test_conformance_tls.py::test_our_servers_pass_every_check_on_our_loop"
)
@pytest.mark.skipif(shutil.which("socat") is None, reason="there is no socat")
async def test_socat_passes_all_but_that_it_waits_for_ever_for_a_handshake() -> None:
    cert, key, _ = certs.LOCALHOST
    listen = f"OPENSSL-LISTEN:0,bind=127.0.0.1,fork,cert={cert},key={key},verify=0"
    process = subprocess.Popen(["socat", "-d", "-d", listen, "EXEC:cat"], stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        port = next(re.findall(r":(\d+)$", line) for line in process.stderr if "listening on" in line)[0]
        try:
            report = await check(("127.0.0.1", int(port)), timeout=10.0, handshake_timeout=0.2)
        finally:
            process.kill()
    expected = {} if shutil.which("openssl") else {"renegotiation": Outcome.SKIPPED}
    assert outcomes(report) == expected | {"endless handshake": Outcome.FAILED}, report


# -- nobody to talk to -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (certs.EXPIRED, "certificate has expired"),
        (certs.WRONG_NAME, "IP address mismatch"),
    ],
    ids=["expired", "wrong name"],
)
async def test_a_certificate_that_is_not_accepted_ends_the_check_with_its_reason(
    certificate: certs.Certificate, why: str
) -> None:
    with blocking_server(certs.server_context(certificate), handshake_timeout=20.0) as address:
        report = await check(address)
        report_by_name = await check_echo(
            address, ssl=certs.client_context(), server_hostname="somewhere-else.invalid", only=["answers"]
        )
    assert re.fullmatch(rf"in the TLS handshake, the certificate is not accepted: {why}.*", report["answers"].detail), (
        report
    )
    assert report.summary == "1 failed, 15 skipped"
    assert report_by_name.passed is (certificate is certs.WRONG_NAME)


async def test_the_systems_authorities_do_not_know_the_test_certificate() -> None:
    with blocking_server(certs.server_context(), handshake_timeout=20.0) as address:
        report = await check_echo(address, ssl=True, only=["answers"])
    assert "the certificate is not accepted: " in report["answers"].detail


async def test_a_server_without_tls_is_told() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        report = await check(server.address)
    assert re.match(r"in the TLS handshake, TLS failed: ", report["answers"].detail), report


async def test_datagrams_have_no_tls() -> None:
    with pytest.raises(ValueError, match="udp and ssl exclude each other"):
        await check_echo("127.0.0.1:7", udp=True, ssl=True)


# -- wrong ones --------------------------------------------------------------------------------------------------------


async def test_a_server_that_ends_without_a_close_notify_fails() -> None:
    with blocking_server(certs.server_context(), abrupt) as address:
        report = await check(address, "nothing sent", "half-close")
    for result in report.results:
        assert result.detail.endswith("the TCP stream ended without a close_notify, as if it had been cut"), report


@pytest.mark.stock_loop(
    ours="tests/testing/conformance/test_conformance_tls.py::test_our_servers_pass_every_check_on_our_loop"
)
async def test_a_server_on_asyncios_own_tls_throws_away_what_it_owes_after_a_close_notify() -> None:
    """Read to the end, then answer: asyncio stops sending when the peer has said that it sends no more."""

    async def echo_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo_at_the_end, "127.0.0.1", 0, ssl=certs.server_context())
    async with server:
        report = await check(server.sockets[0].getsockname(), "half-close")
    assert report["half-close"].detail == "0 of 65,536 bytes came back, then the end of the stream"


async def test_a_server_that_takes_an_old_version_fails() -> None:
    context = certs.server_context()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    try:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    except ssl.SSLError:
        pytest.skip("this OpenSSL knows no old versions")
    with blocking_server(context) as address:
        report = await check(address, "versions")
    assert report["versions"].detail == "TLS 1.1 is taken, which RFC 8996 forbids"


@needs_openssl
async def test_a_server_that_lets_clients_renegotiate_fails() -> None:
    context = certs.server_context()
    context.options |= 0x100  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION, for which Python has no name
    with blocking_server(context) as address:
        report = await check(address, "renegotiation")
    assert report["renegotiation"].detail.startswith("a client may renegotiate TLS 1.2 as often as it likes")


async def test_a_server_that_waits_for_ever_for_a_handshake_fails() -> None:
    with blocking_server(certs.server_context(), handshake_timeout=None) as address:
        report = await check(address, "endless handshake", handshake_timeout=0.2)
    assert report["endless handshake"].detail == (
        "a handshake that does not go on holds its connection, after 0.2 s still"
    )


async def test_a_server_that_is_held_up_by_a_handshake_fails() -> None:
    with blocking_server(certs.server_context(), in_accept=True, handshake_timeout=None) as address:
        report = await check(address, "endless handshake", timeout=0.3)
    assert report["endless handshake"].detail == (
        "while 5 handshakes do not go on, in the TLS handshake, nothing for 0.3 s"
    )


async def test_a_server_that_leaves_plain_text_unanswered_fails() -> None:
    with blocking_server(certs.server_context(), goes_on_after_failure=True) as address:
        report = await check(address, "no TLS", timeout=0.3)
    assert report["no TLS"].detail == "plain text was sent, nothing for 0.3 s"


# -- the hello that is made here ---------------------------------------------------------------------------------------


def test_a_hello_has_the_lengths_that_it_says() -> None:
    for name in ("localhost", "127.0.0.1", "::1"):
        hello = client_hello(0x0301, name)
        assert struct.unpack("!BHH", hello[:5]) == (22, 0x0301, len(hello) - 5)
        assert int.from_bytes(hello[6:9], "big") == len(hello) - 9
        assert (b"localhost" in hello) is (name == "localhost")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", None),
        (b"\x16\x03\x01\x00\x20", None),
        (b"\x16\x03\x01\x00\x20\x02", Answer.HELLO),
        (b"\x15\x03\x01\x00\x02\x02\x46", Answer.ALERT),
        (b"HTTP/1.0 400", Answer.OTHER),
        (b"H", Answer.OTHER),
    ],
)
def test_what_a_server_answers_is_told_from_its_first_bytes(said: bytes, answer: Answer | None) -> None:
    assert answer_to(said) is answer
