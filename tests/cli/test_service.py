"""``proactor-echo service``, with a manager of the tests' own. Windows' is in test_windows_service.py."""

import socket
import sys
from pathlib import Path

import pytest
from helpers import service_manager
from helpers.cli_process import CliProcess, wait_for_line
from helpers.command_line import CommandLine
from helpers.service_manager import Registry, api_of

from proactor_echo.cli.service import winapi

ALL_CONTROLS = "accepts 0x10d"
NEVER_FAILS = ("service", "install", "echo", "--", "tcp", "-p", "7")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(winapi, "load", registry.api)
    return registry


def use(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Registry:
    monkeypatch.setattr(winapi, "load", registry.api)
    return registry


def test_install_makes_a_service_that_starts_with_windows_and_can_do_little(
    registry: Registry, cli: CommandLine
) -> None:
    ended = cli.run("service", "install", "echo", "--", "tcp", "--host", "0.0.0.0", "-p", "7", "--drain", "20")
    assert (ended.status, ended.out, ended.err) == (0, "installed the service echo\n", "")
    name, display, _access, kind, start, _severity, command, *_, account, password = registry.created()
    assert (name, display, kind, start) == ("echo", "Echo server (echo)", 0x10, winapi.SERVICE_AUTO_START)
    expected = f'"{sys.executable}" -m proactor_echo service run echo -- tcp --host 0.0.0.0 -p 7 --drain 20'
    assert command == expected
    assert (account, password) == ("NT AUTHORITY\\LocalService", "")
    assert registry.settings == {
        winapi.SERVICE_CONFIG_DESCRIPTION: ("proactor-echo tcp --host 0.0.0.0 -p 7 --drain 20",),
        winapi.SERVICE_CONFIG_PRESHUTDOWN_INFO: (25_000,),
        winapi.SERVICE_CONFIG_FAILURE_ACTIONS: (5_000, 30_000, 60_000),
        winapi.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG: (1,),
    }
    assert registry.opened == 0


def test_install_as_it_is_asked_for(registry: Registry, cli: CommandLine, tmp_path: Path) -> None:
    log = tmp_path / "echo log.txt"
    ended = cli.run(
        *("service", "install", "echo", "--start", "delayed", "--account", "LocalSystem", "--no-restart"),
        *("--display-name", "Shown", "--description", "For the tests", "--log-file", str(log), "--", "udp"),
    )
    assert (ended.status, ended.err) == (0, "")
    _name, display, _access, _kind, start, _severity, command, *_, account, password = registry.created()
    assert (display, start, account, password) == ("Shown", winapi.SERVICE_AUTO_START, None, None)
    assert command.endswith(f'service run echo --log-file "{log}" -- udp')
    assert registry.settings == {
        winapi.SERVICE_CONFIG_DESCRIPTION: ("For the tests",),
        winapi.SERVICE_CONFIG_PRESHUTDOWN_INFO: (5_000,),
        winapi.SERVICE_CONFIG_DELAYED_AUTO_START_INFO: (1,),
    }


@pytest.mark.parametrize(
    ("fails", "error", "sentence"),
    [
        ("OpenSCManagerW", winapi.ERROR_ACCESS_DENIED, "not permitted: run this as an administrator"),
        ("CreateServiceW", winapi.ERROR_SERVICE_EXISTS, "there is a service of that name already"),
        ("CreateServiceW", 1057, "The reason of Windows (WinError 1057)"),
    ],
)
def test_why_a_service_cannot_be_installed(
    fails: str, error: int, sentence: str, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = use(monkeypatch, Registry(fails=fails, error=error))
    ended = cli.run(*NEVER_FAILS)
    assert (ended.status, ended.err) == (1, f"Error: cannot install the service echo: {sentence}\n")
    assert registry.opened == 0


def test_a_setting_that_this_windows_has_not_is_a_warning(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Registry(fails="ChangeServiceConfig2W", error=124))
    ended = cli.run(*NEVER_FAILS)
    assert ended.status == 0
    assert "Warning: cannot set its description: The reason of Windows (WinError 124)\n" in ended.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("echo",), "Write what to serve behind --, as in: -- tcp --port 9000."),
        (("echo", "--", "demo"), "Write what to serve behind --, as in: -- tcp --port 9000."),
        (("echo", "--", "tcp", "--port", "x"), "Invalid value for '-p' / '--port'"),
        (("echo", "--", "tcp", "--systemd"), "--systemd is for services of systemd."),
        (("a/b", "--", "tcp"), "'a/b' is no name of a service: write 1 to 256 characters without / and \\."),
        (("echo", "--log-file", "nowhere/at/all.txt", "--", "tcp"), "its folder is not there, or it is a folder."),
    ],
)
def test_what_could_not_run_as_a_service_is_not_installed(
    arguments: tuple[str, ...], sentence: str, registry: Registry, cli: CommandLine
) -> None:
    ended = cli.run("service", "install", *arguments)
    assert ended.status == 2
    assert sentence in ended.err
    assert registry.calls == []


def test_a_service_needs_full_paths(
    registry: Registry, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cert.pem").touch()
    ended = cli.run("service", "install", "echo", "--", "tcp", "--tls-cert", "cert.pem")
    assert ended.status == 2
    assert f"--tls-cert cert.pem: a service needs the full path, {tmp_path / 'cert.pem'}." in ended.err


def test_remove_stops_the_service_first(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [winapi.SERVICE_RUNNING, winapi.SERVICE_STOP_PENDING, winapi.SERVICE_STOPPED]
    registry = use(monkeypatch, Registry(states=states))
    ended = cli.run("service", "remove", "echo")
    assert (ended.status, ended.out) == (0, "removed the service echo\n")
    assert registry.names() == [
        *("OpenSCManagerW", "OpenServiceW", "QueryServiceStatusEx", "ControlService"),
        *("QueryServiceStatusEx", "QueryServiceStatusEx", "DeleteService"),
    ]
    assert registry.opened == 0


def test_remove_waits_no_longer_than_asked(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = use(monkeypatch, Registry(states=[winapi.SERVICE_STOP_PENDING]))
    ended = cli.run("service", "remove", "echo", "--wait", "0.05")
    sentence = "the service echo has not stopped within 0.05 s: it is removed as soon as it has"
    assert (ended.status, ended.err) == (1, f"Error: {sentence}\n")
    assert registry.names()[-1] == "DeleteService"


def test_why_a_service_cannot_be_removed(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Registry(fails="OpenServiceW", error=winapi.ERROR_SERVICE_DOES_NOT_EXIST))
    ended = cli.run("service", "remove", "echo")
    assert (ended.status, ended.err) == (
        1,
        "Error: cannot remove the service echo: there is no service of that name\n",
    )


@pytest.mark.parametrize(
    "command", [("install", "echo", "--", "tcp"), ("remove", "echo"), ("run", "echo", "--", "tcp")]
)
def test_there_are_no_services_elsewhere(
    command: tuple[str, ...], cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    ended = cli.run("service", *command)
    sentence = "services are for Windows only: elsewhere `--systemd` is for that"
    assert (ended.status, ended.err) == (2, f"Error: {sentence}\n")


def test_run_is_for_the_manager_alone(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    api = api_of(
        SetConsoleCtrlHandler=lambda handler, add: 1,
        StartServiceCtrlDispatcherW=lambda table: 0,
        get_last_error=lambda: winapi.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT,
    )
    monkeypatch.setattr(winapi, "load", lambda: api)
    ended = cli.run("service", "run", "echo", "--", "tcp")
    assert ended.status == 1
    assert ended.err.startswith("Error: Windows did not start this process as a service: install one")


class Service(CliProcess):
    """A process that a manager of the tests' own has started as the service ``echo``."""

    def __init__(self, log: Path, *server: str) -> None:
        host = service_manager.__file__
        super().__init__("service", "run", "echo", "--log-file", str(log), "--", *server, host=host)
        self._log = log

    def control(self, number: int) -> str:
        """Send a control, and return the next line."""
        self.write(b"%d\n" % number)
        return self.line()

    def running(self) -> tuple[str, int]:
        """Wait until it says that it serves; return where."""
        states = [self.line(), self.line()]
        while states[-1].startswith("START_PENDING"):
            states.append(self.line())
        assert states[0] == "START_PENDING, accepts 0x0, point 1", states
        assert states[-1] == f"RUNNING, {ALL_CONTROLS}, point 0", states
        host, _, port = self._log.read_text().splitlines()[-1].split()[2].rpartition(":")
        return host, int(port)


POSIX_ONLY = pytest.mark.skipif(
    sys.platform == "win32", reason="descriptors of a made-up manager; Windows has its own, in test_windows_service.py"
)


@POSIX_ONLY
@pytest.mark.parametrize(
    "control",
    [winapi.SERVICE_CONTROL_STOP, winapi.SERVICE_CONTROL_SHUTDOWN, winapi.SERVICE_CONTROL_PRESHUTDOWN],
)
def test_a_service_serves_and_stops(control: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what was there\n")
    with Service(log, "tcp", "-p", "0") as service:
        with socket.create_connection(service.running(), 30) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        assert service.control(control) == "STOP_PENDING, accepts 0x0, point 1"
        assert service.line() == "answered 0"
        assert service.line() == "STOPPED, accepts 0x0, point 0, exit 0 0"
        assert service.wait() == 0
    assert log.read_text().startswith("what was there\nlistening tcp 127.0.0.1:")


@POSIX_ONLY
def test_a_service_drains_and_says_that_it_goes_on(tmp_path: Path) -> None:
    frame = b"\0\0\0\5hello"
    with Service(tmp_path / "log", "tcp", "-p", "0", "--framing", "length", "--drain", "60") as service:
        with socket.create_connection(service.running(), 30) as client:
            client.sendall(frame + frame[:5])
            assert client.recv(100) == frame
            service.control(winapi.SERVICE_CONTROL_STOP)
            assert service.line() == "answered 0"
            assert service.line() == "STOP_PENDING, accepts 0x0, point 2"
            client.sendall(frame[5:])
            assert client.recv(100) == frame
        ended = service.line()
        while ended.startswith("STOP_PENDING"):
            ended = service.line()
        assert ended == "STOPPED, accepts 0x0, point 0, exit 0 0"


@POSIX_ONLY
def test_a_service_that_cannot_serve_tells_its_status_and_logs_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Service(log, "tcp", "-p", port) as service:
            assert service.line().startswith("START_PENDING")
            assert service.line() == "STOPPED, accepts 0x0, point 0, exit 1066 1"
            assert service.wait() == 1
    assert log.read_text().startswith(f"Error: cannot bind tcp 127.0.0.1:{port}: ")


@POSIX_ONLY
def test_a_service_is_told_to_read_its_parameters_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Service(log, "tcp", "-p", "0", "--workers", "1", "-v") as service:
        service.running()
        assert service.control(winapi.SERVICE_CONTROL_PARAMCHANGE) == "answered 0"
        wait_for_line(log, "all workers have been replaced")
        service.control(winapi.SERVICE_CONTROL_STOP)
        assert service.wait() == 0


@POSIX_ONLY
def test_other_controls(tmp_path: Path) -> None:
    with Service(tmp_path / "log", "udp", "-p", "0") as service:
        service.running()
        assert service.control(winapi.SERVICE_CONTROL_INTERROGATE) == "answered 0"
        assert service.control(128) == f"answered {winapi.ERROR_CALL_NOT_IMPLEMENTED}"
