"""aiosmtpd: STARTTLS by hand, with asyncio's SSLProtocol put on our transport; smtplib in threads is the client."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import warnings
from typing import Any

from aiosmtpd.smtp import SMTP
from tools.programs.third_party.setting import Setting, client_tls, server_tls

SENDERS = 10


async def mails(setting: Setting) -> None:
    """10 senders, a mail of 800 kB each, after STARTTLS."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    mails: list[bytes] = []

    class Inbox:
        async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
            setting.check_loop()
            assert session.ssl is not None
            mails.append(envelope.content)
            return "250 OK"

    loop = asyncio.get_running_loop()

    def session() -> Any:
        return SMTP(Inbox(), tls_context=server_tls(), require_starttls=True, loop=loop, hostname="localhost")

    def send(port: int, name: int) -> None:
        with contextlib.closing(smtplib.SMTP("localhost", port, timeout=60)) as smtp:
            smtp.starttls(context=client_tls())
            smtp.sendmail("a@localhost", "b@localhost", f"line {name}\r\n" * 100_000)
            smtp.quit()

    async with await loop.create_server(session, "localhost", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*(asyncio.to_thread(send, port, name) for name in range(SENDERS)))
    assert sorted(mails) == [b"line %d\r\n" % name * 100_000 for name in range(SENDERS)]


PARTS = {f"{SENDERS} senders with STARTTLS": mails}
