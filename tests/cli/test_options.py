"""What every option does, what is refused, and what the help says. In this process: real servers, ended by a signal."""

import asyncio
import re
import socket

import click
import pytest
from helpers.command_line import CommandLine
from helpers.network import needs_ipv6
from helpers.peers import RawClient

import proactor_echo as pe
from proactor_echo.cli import main

# -- options ---------------------------------------------------------------------------------------------------------


def test_the_defaults_of_tcp_are_the_documented_ones(cli: CommandLine) -> None:
    assert cli.run("tcp", "--port", "0").status == 0
    assert cli.asked["host"] == ["127.0.0.1"]
    assert cli.asked["options"] == pe.SocketOptions(keepalive=pe.KeepAlive(60, 5, 10))
    assert isinstance(cli.asked["codec"], pe.RawCodec)
    assert (cli.asked["backlog"], cli.asked["accepts"]) == (1024, 32)
    assert cli.asked["deadlines"] == pe.Deadlines(first_byte=60, frame=60, write=60, min_rate=(240, 30))
    assert cli.asked["limits"] == pe.Limits(
        connections=10_000, connections_per_source=1_000, connections_per_network=4_000, max_buffered=512 << 20
    )


def test_the_default_port_is_9000() -> None:
    for name in ("tcp", "udp"):
        command = main.commands[name]
        assert next(option.default for option in command.params if option.name == "port") == 9000


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--backlog", "7"], "backlog", 7),  # which only the system knows
        (["--accepts", "3"], "accepts", 3),
        (  # there is one IPv6 address here
            ["--max-connections-per-source", "off", "--max-buffered", "off", "--accept-rate", "9/20"],
            "limits",
            pe.Limits(connections=10_000, accept_rate=pe.Rate(9, 20), max_buffered=None),
        ),
        (["--no-exclusive"], "options", pe.SocketOptions(exclusive=False)),  # Windows'
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_no_connection_shows_reaches_the_server(
    cli: CommandLine, arguments: list[str], name: str, value: object
) -> None:
    assert cli.run("tcp", "--port", "0", *arguments).status == 0
    assert cli.asked[name] == value


@pytest.mark.parametrize("command", ["tcp", "udp"])
def test_host_can_be_given_several_times(cli: CommandLine, command: str) -> None:
    assert cli.run(command, "--port", "0", "--host", "127.0.0.1", "--host", "localhost").status == 0
    assert list(cli.asked["host"]) == ["127.0.0.1", "localhost"]


@needs_ipv6
@pytest.mark.parametrize("command", ["tcp", "udp"])
def test_ipv6_only_listens_on_the_loopback_of_ipv6(cli: CommandLine, command: str) -> None:
    ended = cli.run(command, "--port", "0", "--ipv6-only")
    assert ended.status == 0
    assert ended.out.startswith(f"listening {command} [::1]:")


FRAMES = {
    "raw": (b"any bytes", b"any bytes"),
    "line": (b"a\nb\r\n\n\rc\n", b"a\nb\r\n\n\rc\n"),
    "length": (b"\0\0\0\3abc\0\0\0\0", b"\0\0\0\3abc\0\0\0\0"),
    "netstring": (b"3:abc,0:,", b"3:abc,0:,"),
    "varint": (b"\3abc\0\x81\0d", b"\3abc\0\1d"),  # a length that was longer than it needs to be
}


@pytest.mark.parametrize("framing", FRAMES)
def test_every_framing_echoes_its_frames(cli: CommandLine, framing: str) -> None:
    sent, expected = FRAMES[framing]

    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.addresses[0]) as client:
            await client.send(sent)
            assert await client.receive_exactly(len(expected)) == expected

    cli.client = client
    assert cli.run("tcp", "--port", "0", "--framing", framing).status == 0


@pytest.mark.parametrize(
    ("framing", "too_long"),
    [("line", b"12345\n"), ("length", b"\0\0\0\6"), ("netstring", b"6:"), ("varint", b"\6")],
)
def test_a_frame_over_the_limit_ends_its_connection_with_one_line(
    cli: CommandLine, framing: str, too_long: bytes
) -> None:
    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.addresses[0]) as client:
            await client.send(too_long)
            assert await client.receive() == b""

    cli.client = client
    ended = cli.run("tcp", "--port", "0", "--framing", framing, "--max-frame-length", "5")
    assert ended.status == 0
    assert ended.err.count("\n") == 1
    assert "over the limit of 5" in ended.err


# -- what is printed -------------------------------------------------------------------------------------------------


async def reset_client(server: pe.Server) -> None:
    client = await RawClient.connect(server.addresses[0])
    await client.send(b"x")
    await client.receive()
    client.reset()
    async with await RawClient.connect(server.addresses[0]) as good:
        await good.send(b"x")
        good.send_eof()
        assert await good.receive_all() == b"x"
    while server.stats.open:
        await asyncio.sleep(0)


def test_a_reset_is_one_line_on_stderr(cli: CommandLine) -> None:
    cli.client = reset_client
    ended = cli.run("tcp", "--port", "0")
    assert ended.err.count("\n") == 1
    assert "info: 127.0.0.1:" in ended.err
    assert "reset" in ended.err


def test_verbose_prints_how_good_connections_ended_too(cli: CommandLine) -> None:
    cli.client = reset_client
    assert "end of file" in cli.run("tcp", "--port", "0", "-v").err


def test_quiet_prints_the_listening_and_stopped_lines_alone(cli: CommandLine) -> None:
    cli.client = reset_client
    ended = cli.run("tcp", "--port", "0", "-q")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["listening", "stopped:"]
    assert ended.err == ""


def test_a_drain_of_0_aborts_at_once(cli: CommandLine) -> None:
    left: list[RawClient] = []

    async def client(server: pe.Server) -> None:
        left.append(await RawClient.connect(server.addresses[0]))
        await left[0].send(b"\0\0\0\1aha")
        await left[0].receive_exactly(5)

    cli.client = client
    ended = cli.run("tcp", "--port", "0", "--framing", "length", "--drain", "0")
    left[0].close()
    assert ended.status == 0
    assert "stopped: 0 finished, 1 aborted in 0.0" in ended.out
    assert "waiting" not in ended.err


# -- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_port_in_use_is_one_sentence_and_status_1(cli: CommandLine, command: str, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        ended = cli.run(command, "--port", str(port))
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"Error: cannot bind {command} 127.0.0.1:{port}: the port is in use\n"


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("", "the host is empty: give a name or an address, 0.0.0.0 or :: for all"),
        ("192.0.2.1", "cannot bind tcp 192.0.2.1:0: 192.0.2.1 is not an address of this machine"),
        ("a b", "unknown host 'a b': no address was found for it"),
    ],
)
def test_a_bad_host_is_one_sentence_and_status_1(cli: CommandLine, host: str, sentence: str) -> None:
    assert cli.run("tcp", "--host", host, "--port", "0") == (1, "", f"Error: {sentence}\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["tcp", "--port", "65536"], "Invalid value for '-p' / '--port'"),
        (["tcp", "--framing", "xml"], "'xml' is not one of 'raw', 'line', 'length', 'netstring', 'varint'"),
        (["tcp", "--max-frame-length", "1k"], "raw bytes have no frames whose length could be limited"),
        (["tcp", "--max-frame-length", "0"], "'0' is not between 1 and"),
        (["tcp", "--backlog", "0"], "Invalid value for '--backlog'"),
        (["tcp", "--accepts", "0"], "Invalid value for '--accepts'"),
        (["tcp", "--keepalive", "yes"], "'yes' is not IDLE,INTERVAL,COUNT"),
        (["tcp", "--idle-timeout", "0"], "'0' is not a number of seconds above 0, or off"),
        (["tcp", "--drain", "-1"], "'-1' is not a number of seconds, 0 or more"),
        (["udp", "--max-datagram", "64k"], "'64k' is not between 1 and 65507 bytes"),
        (["udp", "--oversize", "keep"], "'keep' is not one of 'truncate', 'drop'"),
        (["udp", "--framing", "line"], "No such option"),
        (["udp", "-v", "-q"], "--verbose and --quiet exclude each other"),
        (["demo", "now"], "unexpected extra argument"),
        (["tcp", "9000"], "unexpected extra argument (9000): write --port 9000."),
        (["udp", "[::1]:9000"], "unexpected extra argument ([::1]:9000): write --host ::1 --port 9000."),
        (["tcp", "localhost"], "unexpected extra argument (localhost): write --host HOST or --port PORT."),
        (["tcp", "--host", "127.0.0.1:9000"], "'127.0.0.1:9000' has a port: write --host 127.0.0.1 --port 9000."),
        (["tcp", "--host", "http://a"], "'http://a' is a URL: write the host alone"),
        (["check", "http://127.0.0.1:9000/"], "is a URL and not an address: write HOST:PORT, as in 127.0.0.1:9000"),
        (["serve"], "No such command 'serve'"),
    ],
    ids=" ".join,
)
def test_a_usage_error_is_a_sentence_and_status_2(cli: CommandLine, arguments: list[str], complaint: str) -> None:
    ended = cli.run(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert complaint in ended.err
    assert ended.err.startswith("Usage: proactor-echo")


# -- the demonstration -----------------------------------------------------------------------------------------------


def test_demo_shows_a_table_and_ends_with_status_0(cli: CommandLine) -> None:
    ended = cli.run("demo")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("  ok\n") == 9


def test_demo_ends_with_status_1_when_something_failed(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Swallowing(pe.FramedProtocol):
        def frames_received(self, frames: list[bytes]) -> None:
            pass

    monkeypatch.setattr("proactor_echo.cli.demo.EchoProtocol", Swallowing)
    monkeypatch.setattr("proactor_echo.cli.demo.STEP_TIMEOUT", 1.0)
    ended = cli.run("demo")
    assert (ended.status, ended.err) == (1, "")
    assert "FAILED: 0 bytes came back for 262,144\n" in ended.out
    assert ended.out.endswith("\n7 of 9 failed.\n")


# -- help ------------------------------------------------------------------------------------------------------------


def test_version_is_the_package_s(cli: CommandLine) -> None:
    assert cli.run("--version") == (0, f"proactor-echo {pe.__version__}\n", "")


PAGES = [[], *([name] for name in main.commands)]


@pytest.mark.parametrize("command", PAGES, ids=lambda command: command[0] if command else "group")
def test_help_is_80_columns_wide_at_most(cli: CommandLine, command: list[str]) -> None:
    ended = cli.run(*command, "--help")
    assert ended.status == 0
    assert [line for line in ended.out.splitlines() if len(line) > 80] == []


def test_the_list_of_commands_cuts_no_description_short(cli: CommandLine) -> None:
    assert not re.search(r"\.\.\.$", cli.run("--help").out.partition("Commands:")[2], re.MULTILINE)


@pytest.mark.parametrize("command", [[], ["tcp"], ["udp"]], ids=lambda command: command[0] if command else "group")
def test_help_gives_examples_that_parse(cli: CommandLine, command: list[str]) -> None:
    page = cli.run(*command, "--help").out
    examples = [line[4:].partition("   ")[0].split()[1:] for line in page.splitlines() if line[4:12] == "proactor"]
    assert examples
    for name, *arguments in examples:
        assert isinstance(main.commands[name].make_context(name, arguments), click.Context)


@pytest.mark.parametrize(
    ("arguments", "guard"),
    [
        ([], pe.UdpGuard(rate_per_source=pe.Rate(1000, 2000))),
        (
            ["--guard", "log", "--rate", "9/20"],
            pe.UdpGuard(mode="log", rate=pe.Rate(9, 20), rate_per_source=pe.Rate(1000, 2000)),
        ),
        (["--rate-per-source", "off"], pe.UdpGuard()),
        (["--guard", "off"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_guard_of_udp_is_what_was_asked_for(cli: CommandLine, arguments: list[str], guard: object) -> None:
    assert cli.run("udp", "--port", "0", *arguments).status == 0
    assert cli.asked["guard"] == guard
