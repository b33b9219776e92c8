"""The checks of an echo server over TLS: those over TCP, with TLS between, and those of TLS itself."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import time
from typing import Final

from proactor_echo.sockets.addresses import format_address
from proactor_echo.testing.conformance.echo import tcp_checks
from proactor_echo.testing.conformance.echo.case import Check, Checked, CheckFailed, Skipped
from proactor_echo.testing.conformance.echo.tcp_client import TcpClient
from proactor_echo.testing.conformance.echo.tls_client import TlsClient, TlsTarget
from proactor_echo.testing.conformance.echo.tls_hello import Answer, answer_to, client_hello

__all__ = ["CHECKS", "TlsTarget"]

#: Versions that RFC 8996 forbids, as they are written in a hello.
_OLD: Final = {"1.1": 0x0302, "1.0": 0x0301}
_GOOD: Final = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}


async def answers(target: TlsTarget) -> Checked:
    """Send one line over TLS and get it back."""
    async with await target.connect() as client:
        await client.echo([b"echo\r\n"])
        return Checked(f"came back over {client.version}, {client.cipher}")


async def versions(target: TlsTarget) -> Checked:
    """Offer each version alone: 1.3 or 1.2 must be taken, and 1.1 and 1.0 may not be (RFC 8996)."""
    taken, refused = [], []
    for name, version in _GOOD.items():
        try:
            async with await target.connect(version=version) as client:
                await client.echo([b"echo\r\n"])
        except CheckFailed:
            refused.append(name)
        else:
            taken.append(name)
    if not taken:
        raise CheckFailed("neither TLS 1.3 nor TLS 1.2 is taken when it is offered alone")
    for name, number in _OLD.items():
        if await _old_version(target, number) is Answer.HELLO:
            raise CheckFailed(f"TLS {name} is taken, which RFC 8996 forbids")
        refused.append(name)
    return Checked(f"{' and '.join(taken)} taken; {' and '.join(refused)} refused")


async def half_close(target: TlsTarget) -> Checked:
    """Send and end our side with a close_notify; every byte must still come back, then the server's close_notify."""
    async with await target.connect() as client:
        if not client.half_closes:
            raise Skipped(
                f"the server speaks {client.version.replace('v', ' ')}, in which a stream ends both ways at once"
            )
    return await tcp_checks.half_close(target)


async def truncation(target: TlsTarget) -> Checked:
    """End the TCP stream without a close_notify; the server must end too, and serve others on."""
    async with await target.connect() as client:
        await client.echo([b"half of it\r\n"])
        client.end_without_close_notify()
        how = await _end_of(client, "our stream was cut,")
    await _others_are_served(target)
    return Checked(f"answered by {how}; others are served")


async def renegotiation(target: TlsTarget) -> Checked:
    """Ask for a renegotiation in TLS 1.2, which lets a client cost a server any number of handshakes."""
    try:
        async with await target.connect(version=ssl.TLSVersion.TLSv1_2):
            pass
    except CheckFailed:
        return Checked("there is none without TLS 1.2")
    command = shutil.which("openssl")
    if command is None:
        raise Skipped("needs the openssl command, which is not here")
    if await _renegotiated(target, command):
        raise CheckFailed("a client may renegotiate TLS 1.2 as often as it likes, at the cost of a handshake each time")
    await _others_are_served(target)
    return Checked("is refused in TLS 1.2")


async def no_tls(target: TlsTarget) -> Checked:
    """Send something that is no TLS; the server must end the connection, and serve others on."""
    async with await target.connect_plain() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        how = await _end_of(client, "plain text was sent,")
    await _others_are_served(target)
    return Checked(f"answered by {how}; others are served")


async def endless_handshake(target: TlsTarget) -> Checked:
    """Begin handshakes and do not go on: others must be served, and some day the server must give up."""
    started = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        stuck = [await stack.enter_async_context(await target.connect_plain()) for _ in range(target.settings.clients)]
        hello = client_hello(0x0303, target.server_hostname)
        for number, client in enumerate(stuck):
            await client.send(hello[: (5, 1, len(hello) // 2)[number % 3]])
        try:
            await _others_are_served(target)
        except CheckFailed as exc:
            raise CheckFailed(f"while {len(stuck)} handshakes do not go on, {exc}") from exc
        try:
            async with asyncio.timeout(target.settings.handshake):
                for client in stuck:
                    await _end_of(client, "the handshake did not go on,", limited=False)
        except TimeoutError:
            raise CheckFailed(
                f"a handshake that does not go on holds its connection, after {target.settings.handshake:g} s still"
            ) from None
    seconds = time.perf_counter() - started
    return Checked(f"{len(stuck)} stop nobody, and are given up after {seconds:.1f} s", {"given_up_s": seconds})


_ROWS: Final = {**dict(tcp_checks.CHECKS), "answers": answers, "half-close": half_close}

CHECKS: Final[tuple[Check[TlsTarget], ...]] = (
    *_ROWS.items(),
    ("versions", versions),
    ("truncation", truncation),
    ("renegotiation", renegotiation),
    ("no TLS", no_tls),
    ("endless handshake", endless_handshake),
)


async def _others_are_served(target: TlsTarget) -> None:
    async with await target.connect() as client:
        await client.echo([b"me too\r\n"], name="a new connection")


async def _end_of(client: TcpClient, so_far: str, *, limited: bool = True) -> str:
    """Wait for the end, whatever comes before it; say how it came."""
    try:
        while await client.receive(so_far, limited=limited):
            pass
    except CheckFailed as exc:
        if isinstance(exc.__cause__, OSError):
            return "a reset" if isinstance(exc.__cause__, ConnectionError) else "a TCP end alone"
        raise
    return "a close_notify" if isinstance(client, TlsClient) else "an end"


async def _old_version(target: TlsTarget, version: int) -> Answer:
    """Offer an old version by a hello made here: the TLS library of this machine may not know it any more."""
    async with await target.connect_plain() as client:
        await client.send(client_hello(version, target.server_hostname))
        said = b""
        while (answer := answer_to(said)) is None:
            try:
                piece = await client.receive("an old version was offered,")
            except CheckFailed as exc:
                if isinstance(exc.__cause__, OSError):
                    return Answer.END
                raise
            if not piece:
                return Answer.END
            said += piece
    return answer


async def _renegotiated(target: TlsTarget, command: str) -> bool:
    """Have the openssl command ask for a renegotiation: a line that begins with R does that."""
    arguments = ["-connect", format_address(target.address), "-tls1_2", "-servername", target.server_hostname]
    process = subprocess.Popen(
        [command, "s_client", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )
    with process:
        asking = asyncio.create_task(asyncio.to_thread(_ask, process))
        try:
            await asyncio.wait({asking}, timeout=target.settings.timeout)
            if asking.done():
                return await asking
        finally:
            process.kill()  # which ends the thread
            await asyncio.wait({asking})
    raise CheckFailed(f"a renegotiation was neither refused nor done in {target.settings.timeout:g} s")


def _ask(process: subprocess.Popen[bytes]) -> bool:
    """Ask, then send a line; return whether it came back. The command ends when the server refuses."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"R\n")
        for line in process.stdout:
            if line.startswith(b"RENEGOTIATING"):
                process.stdin.write(b"x still x\n")
            if line.startswith(b"x still x"):
                return True
    except OSError:  # it has ended and reads no more
        return False
    return False
