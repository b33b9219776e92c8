"""What can go wrong with making and binding sockets is one sentence, and leaves nothing open."""

import errno
import gc
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.binding import Bind, both_kinds, closed_at_end
from helpers.peers import WINE_VERSION

from proactor_echo.errors import BindError
from proactor_echo.sockets.binding import Target, bind_all, bind_udp_sockets, listen_tcp, open_socket
from proactor_echo.sockets.options import SocketOptions


@both_kinds
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", None])
async def test_a_port_in_use_is_said(bind: Bind, host: str | None) -> None:
    with closed_at_end(await bind(host, 0)) as addresses:
        port = addresses[0][1]
        with pytest.raises(BindError, match="in use") as caught:
            await bind(host, port)
    assert f":{port}: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.errno in (errno.EADDRINUSE, errno.EACCES)
    assert isinstance(caught.value.__cause__, OSError)


@both_kinds
async def test_an_address_of_another_machine_is_said(bind: Bind) -> None:
    try:
        sockets = await bind("192.0.2.1", 0)
    except BindError as exc:
        failure: BindError | None = exc
    else:
        failure = None
        with closed_at_end(sockets):
            pass
    if failure is None and WINE_VERSION == 8 and bind is bind_udp_sockets:
        pytest.skip("Wine 8 lets a datagram socket bind any address")
    assert str(failure).endswith("192.0.2.1:0: 192.0.2.1 is not an address of this machine")
    assert failure is not None
    assert failure.errno == errno.EADDRNOTAVAIL


@both_kinds
async def test_an_unknown_host_is_said(bind: Bind) -> None:
    with pytest.raises(BindError, match=r"unknown host 'no-such-host\.invalid'"):
        await bind(["127.0.0.1", "no-such-host.invalid"], 0)


@both_kinds
@pytest.mark.parametrize("port", [65536, -1, "http", None])
async def test_a_port_out_of_range_is_said(bind: Bind, port: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="port must be a number from 0 to 65535"):
        await bind(None, port)


@both_kinds
async def test_an_empty_list_of_hosts_is_said(bind: Bind) -> None:
    with pytest.raises(ValueError, match="host is an empty list: name a host"):
        await bind([], 0)


@both_kinds
@pytest.mark.parametrize("host", ["", [""], ["127.0.0.1", ""]])
async def test_an_empty_host_is_not_taken_for_every_interface(bind: Bind, host: Any) -> None:
    with pytest.raises(BindError, match="the host is empty"):
        await bind(host, 0)


@pytest.mark.parametrize("backlog", [0, -1])
async def test_a_senseless_backlog_is_refused(backlog: int) -> None:
    with pytest.raises(ValueError, match="backlog must be at least 1"):
        await listen_tcp("127.0.0.1", 0, backlog=backlog)


if sys.platform == "linux":

    def _lowest_free_for_all() -> int:
        path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        return int(path.read_text()) if path.exists() else 1024

    @both_kinds
    async def test_a_privileged_port_is_said(bind: Bind) -> None:
        if _lowest_free_for_all() <= 1:
            pytest.skip("every port is free for everybody here")
        became = os.geteuid() == 0
        if became:
            os.seteuid(65534)
        try:
            with pytest.raises(BindError, match=r"127\.0\.0\.1:1: not permitted: ports below 1024 need privileges"):
                await bind("127.0.0.1", 1)
        finally:
            if became:
                os.seteuid(0)

    @both_kinds
    async def test_an_interface_that_does_not_exist_is_said(bind: Bind) -> None:
        index = max(index for index, _ in socket.if_nameindex()) + 1000
        with pytest.raises(BindError, match=f"this machine has no network interface {index}"):
            await bind(f"fe80::1%{index}", 0)

    def _descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    @both_kinds
    @pytest.mark.parametrize(
        "hosts", [["127.0.0.1", "192.0.2.1"], ["127.0.0.1", "::1", "192.0.2.1"], ["127.0.0.1", "no-such-host.invalid"]]
    )
    async def test_a_failure_leaves_no_socket_open(bind: Bind, hosts: list[str]) -> None:
        with pytest.raises(BindError):  # once before counting, for what the loop opens to look names up
            await bind(hosts, 0)
        gc.collect()
        before = _descriptors()
        with pytest.raises(BindError):
            await bind(hosts, 0)
        assert len(_descriptors()) == len(before)


# -- a system without a family -----------------------------------------------------------------------------------------

NO_SUCH_FAMILY = Target(getattr(socket, "AF_APPLETALK", 5), socket.SOCK_STREAM, ("nowhere", 0))
"""A family that the systems know by number and do not support."""


def test_a_family_that_the_system_lacks_is_left_out_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    target = Target(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
    for targets in ([NO_SUCH_FAMILY, target], [target, NO_SUCH_FAMILY]):
        caplog.clear()
        with closed_at_end(bind_all(targets, SocketOptions(), lambda sock: sock.listen())) as addresses:
            assert [address[0] for address in addresses] == ["127.0.0.1"]
        [record] = [record for record in caplog.records if record.name == "proactor_echo.sockets"]
        assert record.levelno == logging.WARNING
        assert "does not support" in record.getMessage()
        assert "going on without it" in record.getMessage()


def test_a_family_that_the_system_lacks_is_an_error_when_there_is_no_other() -> None:
    with pytest.raises(BindError, match="this system does not support"):
        bind_all([NO_SUCH_FAMILY], SocketOptions(), lambda sock: sock.listen())


WITHOUT_IPV6 = """
import asyncio, ctypes, fcntl, socket, struct, sys
CLONE_NEWUSER, CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x10000000, 0x40000000, 0x8914, 1
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
    sys.exit(77)
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    for name in ("all", "lo"):
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:
            file.write("1")
except OSError:
    sys.exit(77)
from proactor_echo.sockets.binding import bind_udp_sockets, listen_tcp
async def main():
    for bind in listen_tcp, bind_udp_sockets:
        for hosts in ["localhost", "127.0.0.1"], ["127.0.0.1", "::1"], ["::1", "127.0.0.1"]:
            for sock in await bind(hosts, 0):
                print(sock.getsockname()[0])
                sock.close()
        try:
            await bind("::1", 0)
        except OSError as exc:
            print(exc)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes IPv6 away in a network namespace of its own")
def test_a_machine_whose_ipv6_is_turned_off_is_served_on_ipv4() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_IPV6], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 77:
        pytest.skip("this machine lets nobody make a network namespace")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *["127.0.0.1"] * 3,
        "cannot bind tcp [::1]:0: ::1 is not an address of this machine",
        *["127.0.0.1"] * 3,
        "cannot bind udp [::1]:0: ::1 is not an address of this machine",
    ]


def test_a_family_that_the_system_lacks_is_an_oserror() -> None:
    with pytest.raises(OSError):
        open_socket(NO_SUCH_FAMILY.family, socket.SOCK_STREAM, SocketOptions())
