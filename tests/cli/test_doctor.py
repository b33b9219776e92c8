"""``proactor-echo doctor``: a row for what a server will meet, here and on machines that are made up."""

import asyncio
import json
import socket
import ssl
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import CommandLine

from proactor_echo.cli.doctor import python_rows, system_rows, windows_rows
from proactor_echo.cli.doctor.commands import examine
from proactor_echo.cli.doctor.rows import Verdict
from proactor_echo.loops import private


def test_there_is_a_row_for_everything_and_a_status(cli: CommandLine) -> None:
    ended = cli.run("doctor")
    lines = ended.out.splitlines()
    names = [row.name for row in examine()]
    assert [line[:15].strip() for line in lines] == names
    verdicts = [line[17:21].strip() for line in lines]
    assert set(verdicts) <= {"ok", "note", "bad"}
    assert ended.status == int("bad" in verdicts)
    assert {"Python", "OpenSSL", "event loop", "private names", "IPv6", "clock", "shared ports"} <= {*names}
    if sys.platform == "win32":
        assert names[-4:] == ["Windows", "Winsock catalog", "excluded ports", "firewall"]


def test_json_has_the_same_rows(cli: CommandLine) -> None:
    report = json.loads(cli.run("doctor", "--json").out)
    assert [row["name"] for row in report["rows"]] == [row.name for row in examine()]
    assert report["ok"] == all(row["verdict"] != "bad" for row in report["rows"])
    (loop,) = (row for row in report["rows"] if row["name"] == "event loop")
    assert loop["facts"]["ours"] is True


def test_what_will_not_work_is_status_1(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "HAS_TLSv1_3", False)
    ended = cli.run("doctor")
    assert ended.status == 1
    assert f"OpenSSL          bad   {ssl.OPENSSL_VERSION}, without TLS 1.3\n" in ended.out


# -- Python ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "verdict", "words"),
    [
        ({"CONFIG_ARGS": "'--enable-optimizations'"}, Verdict.OK, ", optimized by a profile)"),
        ({"CONFIG_ARGS": "'--with-lto'"}, Verdict.OK, ""),
        ({"CONFIG_ARGS": "--enable-optimizations", "Py_GIL_DISABLED": 1}, Verdict.NOTE, "free-threaded"),
        ({}, Verdict.OK, ""),  # Windows' does not tell
    ],
)
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="about builds of CPython")
def test_builds_of_python(
    variables: dict[str, Any], verdict: Verdict, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", variables.get)
    row = python_rows.python()
    if not sys.flags.dev_mode:
        assert row.verdict == verdict
    assert words in row.detail


def test_a_loop_of_asyncios_is_noted_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_rows, "EventLoop", asyncio.SelectorEventLoop)
    monkeypatch.setattr(private, "missing", lambda: ["BaseEventLoop._run_once"])
    loop, names = python_rows.event_loop(), python_rows.private_names()
    assert (loop.verdict, names.verdict) == (Verdict.NOTE, Verdict.NOTE)
    assert "SelectorEventLoop: this Python lacks names that ours needs" in loop.detail
    assert names.detail == "asyncio lacks BaseEventLoop._run_once"


def test_a_python_that_was_not_read_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_rows, "READ", ((3, 9), (3, 10)))
    assert python_rows.private_names().verdict == Verdict.NOTE


# -- the system --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "verdict", "words"),
    [
        ((256, 1 << 63), Verdict.BAD, "about 232 connections at once: `ulimit -n unlimited`"),
        ((1024, 524288), Verdict.NOTE, "about 1000 connections at once: `ulimit -n 524288`"),
        ((1024, 1024), Verdict.NOTE, "an administrator must raise it"),
        ((65536, 65536), Verdict.OK, "65536 for a process"),
    ],
)
def test_descriptors(limits: tuple[int, int], verdict: Verdict, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        assert system_rows.descriptors() is None
        return
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    row = system_rows.descriptors()
    assert row is not None
    assert row.verdict == verdict
    assert words in row.detail


linux = pytest.mark.skipif(sys.platform != "linux", reason="others have no /proc/sys")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(system_rows, "PROC", tmp_path)
    (tmp_path / "core").mkdir()
    (tmp_path / "ipv4").mkdir()
    return tmp_path


def test_a_system_that_does_not_tell_has_no_row(proc: Path) -> None:
    assert system_rows.backlog() is None
    assert system_rows.ports() is None


@linux
@pytest.mark.parametrize(("most", "verdict"), [("128\n", Verdict.NOTE), ("4096\n", Verdict.OK)])
def test_backlog(most: str, verdict: Verdict, proc: Path) -> None:
    (proc / "core/somaxconn").write_text(most)
    row = system_rows.backlog()
    assert row is not None
    assert (row.verdict, row.facts) == (verdict, {"somaxconn": int(most)})


@linux
@pytest.mark.parametrize(
    ("ports", "reuse", "verdict", "words"),
    [
        ("32768 60999", "2", Verdict.OK, "can connect 470 times a second to one address"),
        ("50000 50999", "2", Verdict.NOTE, "can connect 16 times a second to one address"),
        ("32768 60999", "1", Verdict.OK, "those in TIME_WAIT are used again"),
    ],
)
def test_outgoing_ports(ports: str, reuse: str, verdict: Verdict, words: str, proc: Path) -> None:
    (proc / "ipv4/ip_local_port_range").write_text(ports)
    (proc / "ipv4/tcp_tw_reuse").write_text(reuse)
    row = system_rows.ports()
    assert row is not None
    assert row.verdict == verdict
    assert words in row.detail


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    row = system_rows.ipv6()
    assert row.verdict == Verdict.NOTE
    assert row.facts == {"usable": False}


@pytest.mark.parametrize(("took", "verdict"), [(0.0011, Verdict.OK), (0.0156, Verdict.NOTE)])
def test_clocks(took: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_rows, "_wait", lambda seconds: took)
    monkeypatch.setattr(system_rows, "_resolution", lambda: 1e-9)
    row = system_rows.clock()
    assert row.verdict == verdict
    assert f"took {took * 1000:.1f} ms" in row.detail


# -- Windows: what its functions and netsh answer, as Microsoft's pages have it ----------------------------------------


def entry(name: str, chain: int) -> bytes:
    made = bytearray(628)
    made[40:44] = chain.to_bytes(4, "little")
    made[116 : 116 + 2 * len(name)] = name.encode("utf-16-le")
    return bytes(made)


def test_layers_of_other_programs_in_the_catalog() -> None:
    entries = entry("MSAFD Tcpip [TCP/IP]", 1) + entry("Filter", 0) + entry("Filter over [MSAFD Tcpip]", 2)
    layered = windows_rows.layered_providers(entries, 3)
    assert layered == ["Filter", "Filter over [MSAFD Tcpip]"]
    assert windows_rows.catalog_row(layered, 3).verdict == Verdict.BAD
    assert windows_rows.catalog_row([], 1).verdict == Verdict.OK


LISTING = """
Protokoll tcp Ausgeschlossene Portbereiche

Startport      Endport
----------    --------
        80          80
     50000       50059     *

* - Verwaltete Portausschluesse.
"""


def test_excluded_ports_in_any_language() -> None:
    row = windows_rows.excluded_ports(LISTING)
    assert (row.verdict, row.facts) == (Verdict.NOTE, {"ranges": [(80, 80), (50000, 50059)]})
    assert row.detail.startswith("80, 50000 to 50059: Windows keeps them back")
    assert windows_rows.excluded_ports("").verdict == Verdict.OK


@pytest.mark.parametrize(
    ("profiles", "verdict", "words"),
    [
        ({"domain": False, "private": True, "public": True}, Verdict.NOTE, "is on for private, public networks"),
        ({"private": False}, Verdict.OK, "is off"),
        ({}, Verdict.OK, "there is none"),
    ],
)
def test_the_firewall(profiles: dict[str, bool], verdict: Verdict, words: str) -> None:
    row = windows_rows.firewall(profiles)
    assert row.verdict == verdict
    assert words in row.detail
