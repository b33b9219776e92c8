"""The command ``proactor-echo bench``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from proactor_echo.bench.messages import LEAST_SIZE
from proactor_echo.cli.check import client_context
from proactor_echo.cli.framing import FRAMINGS, LONGEST_FRAME, make_codec
from proactor_echo.cli.options import choice_option, loop_option, value_option
from proactor_echo.cli.output import errors_as_sentences, print_err, print_line
from proactor_echo.cli.serve import LoopName, run
from proactor_echo.cli.types import ByteSize, HostPort, Seconds
from proactor_echo.wire.codec import Codec
from proactor_echo.wire.delimiters import LineCodec

if TYPE_CHECKING:
    from proactor_echo.bench.run import Plan, Progress, Result

__all__ = ["bench", "load_codec"]


@click.command()
@click.argument("address", type=HostPort(), metavar="HOST:PORT")
@click.option("-c", "--connections", type=click.IntRange(1, 65_535), default=50, show_default=True, help="How many.")
@value_option(
    "--size", "SIZE", ByteSize(LEAST_SIZE, LONGEST_FRAME), "1k", "Length of each message, without its framing."
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="Messages that each connection may send ahead of their answers.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Messages a second of all connections, due at planned times, however fast answers come.",
)
@value_option("--duration", "SECONDS", Seconds(), 10.0, "How long to measure.")
@value_option("--warm-up", "SECONDS", Seconds(), 1.0, "How long to go before that.")
@value_option("--timeout", "SECONDS", Seconds(), 5.0, "Longest wait for answers at the end; then they are lost.")
@choice_option("--framing", list(FRAMINGS), "raw", "What the server speaks.")
@click.option("--tls", is_flag=True, help="Speak TLS.")
@click.option("--tls-ca", metavar="FILE", help="Trust the authorities in this file, and not the system's.")
@click.option("--tls-insecure", is_flag=True, help="Trust any certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@loop_option
def bench(
    address: tuple[str, int],
    connections: int,
    size: int,
    in_flight: int,
    rate: float | None,
    duration: float,
    warm_up: float,
    timeout: float,
    framing: str,
    tls: bool,
    tls_ca: str | None,
    tls_insecure: bool,
    as_json: bool,
    loop: LoopName,
) -> None:
    """Put load on an echo server, check every byte, and measure.

    The exit status is 1 if a byte was wrong or did not come back, or a
    connection ended early, and 0 if not.

    \b
    Examples:
      proactor-echo bench 127.0.0.1:9000
      proactor-echo bench -c 100 --rate 20000 --size 128 127.0.0.1:9000
      proactor-echo bench --framing length --in-flight 16 --json [::1]:9000
    """  # noqa: D301
    from proactor_echo.bench.run import Plan  # only this command needs it

    if not duration:
        raise click.BadOptionUsage("duration", "--duration must be above 0.")
    if not tls and (tls_insecure or tls_ca is not None):
        raise click.UsageError("--tls-ca and --tls-insecure are for --tls: write --tls too.")
    plan = Plan(
        *address,
        connections=connections,
        size=size,
        in_flight=in_flight,
        rate=rate,
        duration=duration,
        warm_up=warm_up,
        timeout=timeout,
        codec=load_codec(framing, size),
        ssl=client_context(tls_ca, insecure=tls_insecure) if tls else None,
    )
    with errors_as_sentences():
        result = run(_run(plan), loop)
    _print(result, as_json=as_json)
    if result.wrong.total or result.ended:
        raise click.exceptions.Exit(1)


def load_codec(framing: str, size: int) -> Codec | None:
    """Return the codec that puts messages of ``size`` bytes into frames; None for raw bytes."""
    if framing == "raw":
        return None
    if framing == "line":  # the echo's own leaves newlines as they came
        return LineCodec(max_frame_length=size)
    return make_codec(framing, size)


async def _run(plan: Plan) -> Result:
    from proactor_echo.bench.report import progress_line
    from proactor_echo.bench.run import run_load

    on_terminal = sys.stderr.isatty()

    def show(progress: Progress) -> None:
        line = progress_line(progress)
        if on_terminal:
            click.echo(f"\r{line:<78}", err=True, nl=False)
        else:
            print_err(line)

    result = await run_load(plan, show)
    if on_terminal:
        click.echo("\r" + " " * 78 + "\r", err=True, nl=False)
    return result


def _print(result: Result, *, as_json: bool) -> None:
    from proactor_echo.bench.report import as_dict, table, verdict

    if as_json:
        print_line(json.dumps(as_dict(result), indent=2))
        return
    for line in table(result):
        print_line(line)
    print_line()
    print_line(verdict(result))
