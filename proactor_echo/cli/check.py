"""What ``proactor-echo check`` prints: a table that grows with every check, or JSON."""

from __future__ import annotations

import json
import ssl
from typing import Final

import click

from proactor_echo.cli.output import print_line, styled

__all__ = ["client_context", "show_check"]


def client_context(ca: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Return a context that trusts the authorities in the file ``ca``, or the system's, or with ``insecure`` anybody.

    Raises TlsError for a file that cannot be used.
    """
    from proactor_echo.net.tcp.tls.description import Tls  # few want it, and the others should not wait for it

    context = Tls(server_ca=ca).client_context
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def show_check(
    address: tuple[str, int], *, udp: bool, as_json: bool, timeout: float, context: ssl.SSLContext | None = None
) -> bool:
    """Check the server at this address, print what was found, and return whether every check was passed.

    With ``context`` the server must speak TLS. With ``udp`` datagrams are checked.
    Raises ConnectFailed when nothing listens there.
    """
    # Only this command needs it, and the others should not wait for it to load.
    from proactor_echo.testing.conformance.echo.run import check_echo
    from proactor_echo.testing.conformance.report import Outcome, Result

    def show(result: Result) -> None:
        word = styled(f"{result.outcome:<7}", fg=colours[result.outcome])
        print_line(f"{result.name:<{_NAME_WIDTH}}  {word}  {result.detail}")

    colours: Final = {Outcome.OK: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow", Outcome.KNOWN: "yellow"}
    try:
        report = await check_echo(
            address, udp=udp, ssl=context or False, timeout=timeout, each=None if as_json else show
        )
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    if as_json:
        print_line(json.dumps(report.as_dict(), indent=2))
    else:
        took = sum(result.seconds for result in report.results)
        print_line()
        print_line(f"{report.subject}: {report.summary}, in {took:.1f} s")
    return report.passed


#: The longest name of a check of an echo server.
_NAME_WIDTH: Final = 19
