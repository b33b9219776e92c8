"""The command line as its users meet it: a process with arguments, lines, signals and an exit status."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.cli_process import TIMEOUT, CliProcess, Ended, run_python
from helpers.network import has_ipv6
from helpers.peers import WINE

import proactor_echo
from proactor_echo.cli import main
from proactor_echo.cli.stop_signals import STOP_SIGNALS

HALF_A_FRAME = b"\0\0\0\4ha"
OTHER_HALF = b"lf"


def tcp_client(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=TIMEOUT)


def receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece, f"end of file after {data!r}"
        data += piece
    return data


# -- one life of each server, looked at from several sides -----------------------------------------------------------


class ServerRun(NamedTuple):
    """What a server said and left, and what its client got."""

    listening: list[str]
    echoed: bytes
    ended: Ended

    @property
    def stats(self) -> dict[str, object]:
        return dict(json.loads(self.ended.err.splitlines()[-1]))


@pytest.fixture(scope="module")
def tcp_run() -> Iterator[ServerRun]:
    hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    arguments = [word for host in hosts for word in ("--host", host)]
    with CliProcess("tcp", *arguments, "--port", "0", "--stats", "--hex-dump", "--framing", "line") as cli:
        listening = [cli.line() for _ in hosts]
        port = int(listening[0].rpartition(":")[2])
        with tcp_client(("127.0.0.1", port)) as client:
            client.sendall(b"one\r\ntwo\nthree")
            client.shutdown(socket.SHUT_WR)
            echoed = b"".join(iter(lambda: client.recv(65536), b""))
        cli.signal(signal.SIGINT)
        yield ServerRun(listening, echoed, cli.end())


def test_each_address_is_one_line_and_all_have_one_port(tcp_run: ServerRun) -> None:
    port = tcp_run.listening[0].rpartition(":")[2]
    expected = [f"listening tcp 127.0.0.1:{port}", f"listening tcp [::1]:{port}"]
    assert port.isdigit()
    assert port != "0"
    assert tcp_run.listening == expected[: len(tcp_run.listening)]


def test_lines_come_back_byte_for_byte_the_unfinished_last_one_too(tcp_run: ServerRun) -> None:
    assert tcp_run.echoed == b"one\r\ntwo\nthree"


def test_ctrl_c_ends_it_with_status_0_and_a_line_that_says_how(tcp_run: ServerRun) -> None:
    assert tcp_run.ended.status == 0
    assert re.fullmatch(r"stopped: 0 finished, 0 aborted in \d+\.\d\d s", tcp_run.ended.out.splitlines()[-1])
    assert len(tcp_run.ended.out.splitlines()) == len(tcp_run.listening) + 1


def test_stats_are_a_line_of_json_on_stderr(tcp_run: ServerRun) -> None:
    assert tcp_run.stats["protocol"] == "tcp"
    assert [f"listening tcp {address}" for address in tcp_run.stats["listening"]] == tcp_run.listening  # type: ignore[attr-defined]
    assert (tcp_run.stats["accepted"], tcp_run.stats["open"]) == (1, 0)
    assert (tcp_run.stats["bytes_in"], tcp_run.stats["bytes_out"]) == (14, 14)
    assert tcp_run.stats["disconnects"] == {"end of file": 1}


def test_hex_dump_shows_both_directions_on_stderr(tcp_run: ServerRun) -> None:
    dump = tcp_run.ended.err
    assert re.search(r"^<- 127\.0\.0\.1:\d+ \d+ bytes\n00000000  6f 6e 65 0d 0a", dump, re.MULTILINE)
    assert re.search(r"^-> 127\.0\.0\.1:\d+ \d+ bytes\n00000000  6f 6e 65 0d 0a", dump, re.MULTILINE)


@pytest.fixture(scope="module")
def udp_run() -> Iterator[ServerRun]:
    with CliProcess("udp", "--port", "0", "--stats", "--max-datagram", "1k", "--oversize", "drop") as cli:
        listening = cli.line()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT)
            client.connect(("127.0.0.1", int(listening.rpartition(":")[2])))
            echoed = []
            for data in (bytes(1025), b"datagram", b""):
                client.send(data)
                if len(data) <= 1024:
                    echoed.append(client.recv(2048))
        cli.signal(signal.SIGTERM)
        yield ServerRun([listening], b"|".join(echoed), cli.end())


def test_udp_says_where_it_listens(udp_run: ServerRun) -> None:
    assert re.fullmatch(r"listening udp 127\.0\.0\.1:[1-9]\d*", udp_run.listening[0])


def test_datagrams_come_back_the_empty_one_too(udp_run: ServerRun) -> None:
    assert udp_run.echoed == b"datagram|"


def test_sigterm_ends_udp_with_status_0_and_its_counts(udp_run: ServerRun) -> None:
    assert udp_run.ended.status == 0
    assert udp_run.ended.out.splitlines()[-1] == "stopped: 3 datagrams in, 2 out, 0 dropped"


def test_udp_stats_are_a_line_of_json_on_stderr(udp_run: ServerRun) -> None:
    assert udp_run.stats["protocol"] == "udp"
    assert (udp_run.stats["datagrams_in"], udp_run.stats["datagrams_out"]) == (3, 2)
    assert (udp_run.stats["bytes_in"], udp_run.stats["oversize"]) == (1033, 1)


# -- stopping --------------------------------------------------------------------------------------------------------


def test_a_stop_waits_for_what_a_client_is_in_the_middle_of() -> None:
    with CliProcess("tcp", "--port", "0", "--framing", "length", "--drain", "60") as cli:
        with tcp_client(cli.listening()) as client:
            client.sendall(b"\0\0\0\2ok" + HALF_A_FRAME)
            assert receive(client, 6) == b"\0\0\0\2ok"
            cli.signal(signal.SIGTERM)
            assert "SIGTERM: waiting up to 60 s for 1 connection to finish" in cli.error_line()
            client.sendall(OTHER_HALF)
            assert receive(client, 8) == HALF_A_FRAME + OTHER_HALF
            assert client.recv(1) == b""
        ended = cli.end()
    assert ended.status == 0
    assert "\nstopped: 1 finished, 0 aborted in " in ended.out


def test_a_second_signal_stops_at_once() -> None:
    arguments = ("tcp", "--port", "0", "--framing", "length", "--drain", "600")
    with CliProcess(*arguments) as cli, tcp_client(cli.listening()) as client:
        client.sendall(b"\0\0\0\2ok" + HALF_A_FRAME)
        receive(client, 6)
        cli.signal(signal.SIGINT)
        cli.error_line()
        cli.signal(signal.SIGINT)
        ended = cli.end()
    assert ended.status == 0
    assert "\nstopped: 0 finished, 1 aborted in " in ended.out


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("loop", ["own", "stock"])
def test_a_signal_that_comes_when_it_has_stopped_does_not_change_the_exit_status(
    number: signal.Signals, loop: str
) -> None:
    with CliProcess("tcp", "--port", "0", "--loop", loop) as cli:
        cli.listening()
        cli.signal(number)
        assert cli.line().startswith("stopped: ")
        with contextlib.suppress(OSError):  # as many as it is there for
            while not cli.has_ended():
                cli.signal(number)
        ended = cli.end()
    assert (ended.status, ended.err) == (0, "")


def test_a_server_whose_terminal_is_closed_lets_its_clients_finish() -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGHUP")
    with CliProcess("tcp", "--port", "0", "--framing", "length") as cli, tcp_client(cli.listening()) as client:
        client.sendall(b"\0\0\0\2ok" + HALF_A_FRAME)
        receive(client, 6)
        cli.signal(signal.SIGHUP)
        assert "SIGHUP: waiting up to 5 s for 1 connection to finish" in cli.error_line()
        client.sendall(OTHER_HALF)
        assert receive(client, 8) == HALF_A_FRAME + OTHER_HALF
        ended = cli.end()
    assert ended.status == 0
    assert "\nstopped: 1 finished, 0 aborted in " in ended.out


def test_a_terminal_that_has_gone_is_no_error() -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals of this kind")
    near, far = os.openpty()
    program = [sys.executable, "-m", "proactor_echo", "tcp", "--port", "0"]
    with open(near, "rb", buffering=0) as screen, open(far, "wb") as terminal:
        streams: dict[str, Any] = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        server = subprocess.Popen(program, start_new_session=True, **streams)
        terminal.close()
        assert screen.readline().startswith(b"listening tcp 127.0.0.1:")
        screen.close()
        server.send_signal(signal.SIGHUP)
        assert server.wait(TIMEOUT) == 0


@pytest.mark.skipif(sys.platform != "win32", reason="consoles and their Ctrl events are Windows'")
@pytest.mark.parametrize("key", ["c", "cc", "b"], ids=["ctrl-c", "ctrl-c twice", "ctrl-break"])
def test_ctrl_c_and_ctrl_break_in_a_windows_console_stop_it_gracefully(key: str) -> None:
    if key == "b" and WINE:
        pytest.skip("Wine's C run-time takes Ctrl+C alone for a signal")
    with CliProcess("tcp", "--port", "0", host=str(Path(__file__).parents[1] / "helpers" / "console_host.py")) as cli:
        line = cli.line()
        cli.write(key.encode())
        ended = cli.end()
    if ended.status == 77 or not line:
        pytest.skip("this system has no console to press the key in, or cannot press it")
    assert ended.status == 0
    assert "\nstopped: 0 finished, 0 aborted in " in ended.out


# -- who reads it ----------------------------------------------------------------------------------------------------


def test_it_goes_on_when_nobody_reads_its_lines_any_more() -> None:
    with CliProcess("tcp", "--port", "0", "--quiet", hang_up_after=1) as cli:
        address = cli.listening()
        assert cli.line() == ""
        with tcp_client(address) as client:
            client.sendall(b"still there")
            assert receive(client, 11) == b"still there"
        cli.signal(signal.SIGTERM)
        ended = cli.end()
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the full disk that every Linux has")
def test_a_full_disk_is_one_sentence_and_status_1() -> None:
    with open("/dev/full", "w") as full:
        program = [sys.executable, "-m", "proactor_echo", "tcp", "--port", "0"]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: cannot write to standard output: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists() or sys.platform == "win32", reason="the full disk that Linux has")
@pytest.mark.parametrize("arguments", [["--help"], ["tcp", "--help"], ["--version"]], ids=" ".join)
def test_a_help_page_on_a_full_disk_is_one_sentence_and_status_1(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        program = [sys.executable, "-m", "proactor_echo", *arguments]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: cannot write to standard output: No space left on device\n")


WARNS = "for a signal of another thread Python warns, under Wine now and then, that the wakeup descriptor is full"


@pytest.mark.parametrize("loop", ["own", pytest.param("stock", marks=pytest.mark.skipif(WINE, reason=WARNS))])
def test_a_demo_that_is_interrupted_ends_quietly_with_status_130(loop: str) -> None:
    with CliProcess("demo", "--loop", loop) as cli:
        while "what was done" not in cli.line():
            pass
        cli.signal(signal.SIGINT)
        ended = cli.end()
    assert (ended.status, ended.err) == (130, "")


def test_a_check_that_is_interrupted_ends_quietly_with_status_130() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        CliProcess("check", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "60") as cli,
        silent.accept()[0],
    ):
        cli.signal(signal.SIGINT)
        ended = cli.end()
    assert (ended.status, ended.err) == (130, "")


# -- how it is called ------------------------------------------------------------------------------------------------


def test_run_as_a_module_it_calls_itself_that() -> None:
    ended = run_python("-m", "proactor_echo", "tpc")
    assert ended.status == 2
    assert ended.err.startswith("Usage: python -m proactor_echo [OPTIONS] COMMAND [ARGS]...")
    assert "Error: No such command 'tpc'." in ended.err


def test_it_is_installed_as_proactor_echo() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="proactor-echo")
    assert script.load() is main


SCRIPT = Path(sysconfig.get_path("scripts")) / "proactor-echo"


@pytest.mark.skipif(not SCRIPT.exists(), reason="no script was installed beside this Python")
def test_the_installed_script_calls_itself_by_its_name() -> None:
    command = [str(SCRIPT), "tcp", "--bad"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: proactor-echo tcp [OPTIONS]")


def test_importing_the_package_does_not_import_click() -> None:
    assert proactor_echo.__name__ == "proactor_echo"
    ended = run_python("-c", "import sys, proactor_echo; sys.exit('click' in sys.modules)")
    assert ended.status == 0, ended.err
